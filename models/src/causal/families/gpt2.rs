//! GPT-2.

use serde_json::Value;

use super::super::common::{activation, head_size};
use super::super::config::{CausalConfig, Layer, Layers, Scales};
use super::super::family::{Family, FamilyTokenizer, Gate, GgufFamily, GgufRows, GgufSizes, NormKind, TensorNames};
use super::super::settings::COMMON;
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table, refused, refused_unless_true};

const SETTINGS: Table = &[
    ("activation_function", Honoured),
    ("add_cross_attention", refused("cross-attention")),
    ("attn_pdrop", Harmless),
    ("embd_pdrop", Harmless),
    ("hidden_size", Honoured),
    ("layer_norm_epsilon", Honoured),
    ("max_position_embeddings", Honoured),
    ("n_ctx", Harmless),
    ("n_embd", Honoured),
    ("n_head", Honoured),
    ("n_inner", Honoured),
    ("n_layer", Honoured),
    ("n_positions", Honoured),
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    // The same multiplications in another order, for half precision.
    ("reorder_and_upcast_attn", Harmless),
    ("resid_pdrop", Harmless),
    ("scale_attn_by_inverse_layer_idx", refused("attention scaled by layer")),
    ("scale_attn_weights", refused_unless_true("attention without a scale")),
    // A head for multiple choice, which a language model does not have.
    ("summary_activation", Harmless),
    ("summary_first_dropout", Harmless),
    ("summary_proj_to_labels", Harmless),
    ("summary_type", Harmless),
    ("summary_use_proj", Harmless),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    // Of two spellings in one file, transformers takes the general one.
    let either = |name: &str, alias: &str| match fields.size(alias)? {
        Some(size) => Ok(Some(size)),
        None => fields.size(name),
    };
    let required = |name: &str, alias: &str| either(name, alias)?.ok_or_else(|| ModelError::config(name, "is missing"));
    let width = required("n_embd", "hidden_size")?;
    let heads = required("n_head", "num_attention_heads")?;
    Ok(CausalConfig {
        family: &FAMILY,
        vocabulary: fields.required_size("vocab_size")?,
        width,
        n_layers: required("n_layer", "num_hidden_layers")?,
        layers: Layers::Alike(Layer::UNROTATED),
        n_query_heads: heads,
        n_key_value_heads: heads,
        head_size: head_size(width, heads)?,
        inner: fields.size("n_inner")?.unwrap_or(4 * width),
        max_positions: either("n_positions", "max_position_embeddings")?.unwrap_or(1024),
        norm_epsilon: fields.positive("layer_norm_epsilon", 1e-5)?,
        activation: activation(fields, "activation_function", "gelu_new")?,
        tied: fields.flag("tie_word_embeddings", true)?,
        parallel_residual: false,
        qkv_bias: true,
        attention_output_bias: true,
        mlp_bias: true,
        rotary: None,
        local_rotary: None,
        scales: Scales::PLAIN,
        bos: fields.token("bos_token_id", Some(50_256))?,
        eos: fields.tokens("eos_token_id", Some(50_256))?,
        external: None,
        source: Value::Null,
    })
}

const GGUF: GgufFamily =
    GgufFamily { architecture: "gpt2", sizes: GgufSizes::Gpt2, rows: GgufRows::Same, settings: &[], keys: &[] };

/// GPT-2: LayerNorm, learned positions, weights stored `[in, out]`.
pub(super) static FAMILY: Family = Family {
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    config_class: "GPT2Config",
    names: TensorNames {
        prefix: "transformer.",
        embedding: "wte",
        positions: Some("wpe"),
        blocks: "h",
        final_norm: "ln_f",
        attention_norm: Some("ln_1"),
        qkv: &["attn.c_attn"],
        attention_output: "attn.c_proj",
        mlp_norm: Some("ln_2"),
        gate: None,
        up: "mlp.c_fc",
        down: "mlp.c_proj",
        ..TensorNames::LLAMA
    },
    norm: NormKind::Layer,
    gate: Gate::None,
    transposed: true,
    scales_new_projections: true,
    settings: &[COMMON, SETTINGS],
    tokenizer: FamilyTokenizer::Or("GPT2Tokenizer"),
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
