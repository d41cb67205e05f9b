//! Llama.

use super::super::common::{Defaults, llama_like, with_attention_bias};
use super::super::config::CausalConfig;
use super::super::family::{Family, GgufFamily, GgufRows, GgufSizes, GgufValue};
use super::super::settings::{COMMON, ROTARY};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table};

const SETTINGS: Table = &[
    ("attention_bias", Honoured),
    ("attention_dropout", Harmless),
    ("head_dim", Honoured),
    ("hidden_act", Honoured),
    ("hidden_size", Honoured),
    ("intermediate_size", Honoured),
    ("max_position_embeddings", Honoured),
    ("mlp_bias", Honoured),
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("num_key_value_heads", Honoured),
    // Splits the same product into slices.
    ("pretraining_tp", Harmless),
    ("rms_norm_eps", Honoured),
    ("rope_theta", Honoured),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let config = with_attention_bias(llama_like(&FAMILY, fields, &Defaults::LLAMA)?, fields)?;
    Ok(CausalConfig { mlp_bias: fields.flag("mlp_bias", false)?, ..config })
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "llama",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Interleaved,
    settings: &[
        ("hidden_act", GgufValue::Text("silu")),
        ("attention_bias", GgufValue::HasTensor("blk.0.attn_q.bias")),
        ("mlp_bias", GgufValue::HasTensor("blk.0.ffn_up.bias")),
        ("", GgufValue::Rotary),
    ],
    keys: &[],
};

/// Llama: RMSNorm, rotary embedding, grouped heads, gated MLP.
pub(super) static FAMILY: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    config_class: "LlamaConfig",
    settings: &[COMMON, ROTARY, SETTINGS],
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
