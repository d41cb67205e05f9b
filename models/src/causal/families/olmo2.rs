//! OLMo 2.

use super::super::common::{Defaults, llama_like, with_attention_bias};
use super::super::config::CausalConfig;
use super::super::family::{Family, FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue, HeadNorm};
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
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("num_key_value_heads", Honoured),
    ("rms_norm_eps", Honoured),
    ("rope_theta", Honoured),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let defaults = Defaults { bos: None, eos: Some(50_279), norm_epsilon: 1e-5, ..Defaults::LLAMA };
    with_attention_bias(llama_like(&FAMILY, fields, &defaults)?, fields)
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "olmo2",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Same,
    settings: &[
        ("hidden_act", GgufValue::Text("silu")),
        ("attention_bias", GgufValue::HasTensor("blk.0.attn_q.bias")),
        ("", GgufValue::Rotary),
    ],
    keys: &[],
};

/// OLMo 2: norms behind attention and MLP, and of all query and key heads together.
pub(super) static FAMILY: Family = Family {
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    config_class: "Olmo2Config",
    names: super::OLMO_NAMES,
    head_norm: HeadNorm::Whole,
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Unchanged,
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
