//! Mistral.

use super::super::common::{Defaults, llama_like};
use super::super::config::CausalConfig;
use super::super::family::{Family, FamilyTokenizer};
use super::super::settings::{COMMON, ROTARY};
use super::super::windows::window;
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table};

const SETTINGS: Table = &[
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
    ("sliding_window", Honoured),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let defaults = Defaults { max_positions: 131_072, key_value_heads: Some(8), ..Defaults::LLAMA };
    Ok(llama_like(&FAMILY, fields, &defaults)?.with_window(window(fields, Some(4096))?))
}

/// Mistral: Llama with a window in every layer.
pub(super) static FAMILY: Family = Family {
    model_type: "mistral",
    class: "MistralForCausalLM",
    config_class: "MistralConfig",
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Unchanged,
    gguf: None,
    ..Family::LLAMA
};
