//! Gemma 2.

use super::super::common::{llama_like, with_attention_bias};
use super::super::config::{CausalConfig, Scales};
use super::super::family::{Family, FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue, NormKind};
use super::super::settings::{COMMON, ROTARY};
use super::super::windows::{sliding_layers, window};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table, refused};

const SETTINGS: Table = &[
    ("attention_bias", Honoured),
    ("attention_dropout", Harmless),
    ("attn_logit_softcapping", Honoured),
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
    ("rope_theta", Honoured),
    ("sliding_window", Honoured),
    ("use_bidirectional_attention", refused("attention in both directions")),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let config = with_attention_bias(llama_like(&FAMILY, fields, &super::gemma_defaults(8192))?, fields)?;
    let caps = [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)];
    let [attention_cap, cap] = caps.map(|(key, default)| fields.number_or_null(key, Some(default)));
    let scales = super::gemma_scales(fields, config.width, cap?)?;
    let config = CausalConfig { scales: Scales { attention_cap: attention_cap?, ..scales }, ..config };
    let slides = sliding_layers(fields, config.n_layers, |layer| layer.is_multiple_of(2))?;
    config.with_sliding(&slides, window(fields, Some(4096))?)
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "gemma2",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Same,
    settings: &[
        ("hidden_activation", GgufValue::Text("gelu_pytorch_tanh")),
        ("sliding_window", GgufValue::Number("attention.sliding_window")),
        ("attn_logit_softcapping", GgufValue::Number("attn_logit_softcapping")),
        ("final_logit_softcapping", GgufValue::Number("final_logit_softcapping")),
        ("query_pre_attn_scalar", GgufValue::QueryScalar(46)),
        ("", GgufValue::Rotary),
    ],
    keys: &["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"],
};

/// Gemma 2: norms before and behind, soft bounds of scores and logits, windows in every other layer.
pub(super) static FAMILY: Family = Family {
    model_type: "gemma2",
    class: "Gemma2ForCausalLM",
    config_class: "Gemma2Config",
    names: super::GEMMA_NAMES,
    norm: NormKind::RmsPlusOne,
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Or("GemmaTokenizer"),
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
