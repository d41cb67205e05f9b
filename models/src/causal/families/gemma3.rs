//! Gemma 3, its language model.

use super::super::common::{plain_decoder, with_attention_bias};
use super::super::config::CausalConfig;
use super::super::family::{Family, FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue, NormKind};
use super::super::rotary::{Rotary, RotarySizes};
use super::super::settings::{COMMON, ROTARY};
use super::super::windows::{sliding_layers, window};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table, refused};

const SETTINGS: Table = &[
    // Written with `layer_types`, which say the same.
    ("_sliding_window_pattern", Harmless),
    ("attention_bias", Honoured),
    ("attention_dropout", Harmless),
    // The class declares it and does not use it.
    ("attn_logit_softcapping", Harmless),
    ("final_logit_softcapping", Honoured),
    ("head_dim", Honoured),
    ("hidden_activation", Honoured),
    ("hidden_size", Honoured),
    ("intermediate_size", Honoured),
    ("layer_types", Honoured),
    ("max_position_embeddings", Honoured),
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("num_key_value_heads", Honoured),
    ("query_pre_attn_scalar", Honoured),
    ("rms_norm_eps", Honoured),
    ("rope_local_base_freq", Honoured),
    ("rope_theta", Honoured),
    ("sliding_window", Honoured),
    ("sliding_window_pattern", Honoured),
    ("use_bidirectional_attention", refused("attention in both directions")),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let config = with_attention_bias(plain_decoder(&FAMILY, fields, &super::gemma_defaults(131_072))?, fields)?;
    let sizes = RotarySizes { head: config.head_size, max_positions: config.max_positions };
    let [global, local] = [("rope_theta", 1_000_000.0), ("rope_local_base_freq", 10_000.0)]
        .map(|(key, default)| fields.positive(key, default));
    let rotary = Rotary::of_kind(fields, "full_attention", global?, sizes)?;
    let local_rotary = Some(Rotary::of_kind(fields, "sliding_attention", local?, sizes)?);
    let cap = fields.number_or_null("final_logit_softcapping", None)?;
    let scales = super::gemma_scales(fields, config.width, cap)?;
    let config = CausalConfig { rotary: Some(rotary), local_rotary, scales, ..config };
    let pattern = fields.size("sliding_window_pattern")?.unwrap_or(6);
    let slides = sliding_layers(fields, config.n_layers, |layer| !(layer + 1).is_multiple_of(pattern))?;
    config.with_sliding(&slides, window(fields, Some(4096))?)
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "gemma3",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Same,
    settings: &[
        ("hidden_activation", GgufValue::Text("gelu_pytorch_tanh")),
        ("sliding_window", GgufValue::Number("attention.sliding_window")),
        ("final_logit_softcapping", GgufValue::Number("final_logit_softcapping")),
        ("query_pre_attn_scalar", GgufValue::QueryScalar(62)),
        ("", GgufValue::LayeredRotary),
    ],
    keys: &["attention.sliding_window", "final_logit_softcapping", "rope.freq_base_swa"],
};

/// Gemma 3: Gemma 2 with norms of queries and keys, and a rotary base of its own in sliding layers.
pub(super) static FAMILY: Family = Family {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    config_class: "Gemma3TextConfig",
    names: super::GEMMA_NAMES.with_head_norms(),
    norm: NormKind::RmsPlusOne,
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Or("GemmaTokenizer"),
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
