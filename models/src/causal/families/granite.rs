//! Granite.

use engine::ops::LogitForm;

use super::super::common::{Defaults, llama_like, with_attention_bias};
use super::super::config::{CausalConfig, Scales};
use super::super::family::{Family, FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue};
use super::super::settings::{COMMON, ROTARY};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table};

const SETTINGS: Table = &[
    ("attention_bias", Honoured),
    ("attention_dropout", Harmless),
    ("attention_multiplier", Honoured),
    ("embedding_multiplier", Honoured),
    ("head_dim", Honoured),
    ("hidden_act", Honoured),
    ("hidden_size", Honoured),
    ("intermediate_size", Honoured),
    ("logits_scaling", Honoured),
    ("max_position_embeddings", Honoured),
    ("mlp_bias", Honoured),
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("num_key_value_heads", Honoured),
    ("residual_multiplier", Honoured),
    ("rms_norm_eps", Honoured),
    ("rope_theta", Honoured),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let config = with_attention_bias(llama_like(&FAMILY, fields, &Defaults::LLAMA)?, fields)?;
    let scales = Scales {
        embedding: fields.positive("embedding_multiplier", 1.0)?,
        residual: fields.positive("residual_multiplier", 1.0)?,
        attention: Some(fields.positive("attention_multiplier", 1.0)?),
        logits: LogitForm { scale: 1.0 / fields.positive("logits_scaling", 1.0)?, ..LogitForm::PLAIN },
        ..Scales::PLAIN
    };
    Ok(CausalConfig { mlp_bias: fields.flag("mlp_bias", false)?, scales, ..config })
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "granite",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Interleaved,
    settings: &[
        ("hidden_act", GgufValue::Text("silu")),
        ("attention_bias", GgufValue::HasTensor("blk.0.attn_q.bias")),
        ("mlp_bias", GgufValue::HasTensor("blk.0.ffn_up.bias")),
        ("embedding_multiplier", GgufValue::NumberOr("embedding_scale", 1.0)),
        ("residual_multiplier", GgufValue::NumberOr("residual_scale", 1.0)),
        ("logits_scaling", GgufValue::NumberOr("logit_scale", 1.0)),
        ("attention_multiplier", GgufValue::NumberOr("attention.scale", 1.0)),
        ("", GgufValue::Rotary),
    ],
    keys: &["attention.scale", "embedding_scale", "logit_scale", "residual_scale"],
};

/// Granite: Llama with constant factors of embedding, residual, scores and logits.
pub(super) static FAMILY: Family = Family {
    model_type: "granite",
    class: "GraniteForCausalLM",
    config_class: "GraniteConfig",
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Unchanged,
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
