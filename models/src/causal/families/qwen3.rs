//! Qwen3.

use super::super::common::{Defaults, llama_like, with_attention_bias};
use super::super::config::CausalConfig;
use super::super::family::{Family, FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue, TensorNames};
use super::super::settings::{COMMON, ROTARY};
use super::super::windows::switched_windows;
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
    let defaults = Defaults {
        max_positions: 32_768,
        bos: None,
        eos: None,
        head_size: Some(128),
        key_value_heads: Some(32),
        ..Defaults::LLAMA
    };
    switched_windows(with_attention_bias(llama_like(&FAMILY, fields, &defaults)?, fields)?, fields)
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "qwen3",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Same,
    settings: &[
        ("hidden_act", GgufValue::Text("silu")),
        ("attention_bias", GgufValue::HasTensor("blk.0.attn_q.bias")),
        ("use_sliding_window", GgufValue::Off),
        ("", GgufValue::Rotary),
    ],
    keys: &[],
};

/// Qwen3: Qwen2 with a norm of each query and key head in place of biases.
pub(super) static FAMILY: Family = Family {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    config_class: "Qwen3Config",
    names: TensorNames::LLAMA.with_head_norms(),
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Or("Qwen2Tokenizer"),
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
