//! Qwen2.

use super::super::common::{Defaults, llama_like};
use super::super::config::CausalConfig;
use super::super::family::{Family, FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue};
use super::super::settings::{COMMON, ROTARY};
use super::super::windows::switched_windows;
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table};

const SETTINGS: Table = &[
    ("attention_dropout", Harmless),
    ("head_dim", Honoured),
    ("hidden_act", Honoured),
    ("hidden_size", Honoured),
    ("intermediate_size", Honoured),
    ("layer_types", Honoured),
    ("max_position_embeddings", Honoured),
    ("max_window_layers", Honoured),
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("num_key_value_heads", Honoured),
    ("rms_norm_eps", Honoured),
    ("rope_theta", Honoured),
    ("sliding_window", Honoured),
    ("use_sliding_window", Honoured),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let defaults = Defaults { max_positions: 32_768, bos: None, eos: None, ..Defaults::LLAMA };
    let config = switched_windows(llama_like(&FAMILY, fields, &defaults)?, fields)?;
    Ok(CausalConfig { qkv_bias: true, ..config })
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "qwen2",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Same,
    settings: &[
        ("hidden_act", GgufValue::Text("silu")),
        ("use_sliding_window", GgufValue::Off),
        ("", GgufValue::Rotary),
    ],
    keys: &[],
};

/// Qwen2: Llama with biases on queries, keys and values, and windows.
pub(super) static FAMILY: Family = Family {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    config_class: "Qwen2Config",
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Always("Qwen2Tokenizer"),
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
