//! GPT-NeoX.

use serde_json::Value;

use super::super::common::{activation, head_size};
use super::super::config::{CausalConfig, Layer, Layers, Scales};
use super::super::family::{
    Family, FamilyTokenizer, Gate, GgufFamily, GgufRows, GgufSizes, NormKind, Packing, TensorNames,
};
use super::super::rotary::{Rotary, RotaryKeys};
use super::super::settings::{COMMON, ROTARY};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table};

const SETTINGS: Table = &[
    ("attention_bias", Honoured),
    ("attention_dropout", Harmless),
    ("classifier_dropout", Harmless),
    ("head_dim", Honoured),
    ("hidden_act", Honoured),
    ("hidden_dropout", Harmless),
    ("hidden_size", Honoured),
    ("intermediate_size", Honoured),
    ("is_decoder", Harmless),
    ("layer_norm_eps", Honoured),
    ("max_position_embeddings", Honoured),
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("rotary_emb_base", Honoured),
    ("rotary_pct", Honoured),
    ("use_parallel_residual", Honoured),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let width = fields.required_size("hidden_size")?;
    let heads = fields.required_size("num_attention_heads")?;
    let size = head_size(width, heads)?;
    let max_positions = fields.size("max_position_embeddings")?.unwrap_or(2048);
    // transformers computes the rotated coordinates from this key, but the heads without it.
    let turning = fields.size("head_dim")?.unwrap_or(size);
    let attention_bias = fields.flag("attention_bias", true)?;
    Ok(CausalConfig {
        family: &FAMILY,
        vocabulary: fields.required_size("vocab_size")?,
        width,
        n_layers: fields.required_size("num_hidden_layers")?,
        layers: Layers::Alike(Layer::FULL),
        n_query_heads: heads,
        n_key_value_heads: heads,
        head_size: size,
        inner: fields.required_size("intermediate_size")?,
        max_positions,
        norm_epsilon: fields.positive("layer_norm_eps", 1e-5)?,
        activation: activation(fields, "hidden_act", "gelu")?,
        tied: fields.flag("tie_word_embeddings", false)?,
        parallel_residual: fields.flag("use_parallel_residual", true)?,
        qkv_bias: attention_bias,
        attention_output_bias: attention_bias,
        mlp_bias: true,
        rotary: Some(Rotary::read(fields, RotaryKeys::Partial, turning, max_positions)?),
        local_rotary: None,
        scales: Scales::PLAIN,
        bos: fields.token("bos_token_id", Some(0))?,
        eos: fields.tokens("eos_token_id", Some(2))?,
        external: None,
        source: Value::Null,
    })
}

const GGUF: GgufFamily =
    GgufFamily { architecture: "gptneox", sizes: GgufSizes::GptNeoX, rows: GgufRows::Same, settings: &[], keys: &[] };

/// GPT-NeoX (Pythia): LayerNorm, partial rotary embedding, one packed projection for queries, keys and values.
pub(super) static FAMILY: Family = Family {
    model_type: "gpt_neox",
    class: "GPTNeoXForCausalLM",
    config_class: "GPTNeoXConfig",
    names: TensorNames {
        prefix: "gpt_neox.",
        embedding: "embed_in",
        final_norm: "final_layer_norm",
        head: "embed_out.weight",
        qkv: &["attention.query_key_value"],
        attention_output: "attention.dense",
        gate: None,
        up: "mlp.dense_h_to_4h",
        down: "mlp.dense_4h_to_h",
        ..TensorNames::LLAMA
    },
    norm: NormKind::Layer,
    packing: Packing::PerHead,
    gate: Gate::None,
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Or("GPTNeoXTokenizer"),
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
