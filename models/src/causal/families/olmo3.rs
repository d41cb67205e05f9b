//! OLMo 3.

use super::super::common::{Defaults, plain_decoder, with_attention_bias};
use super::super::config::CausalConfig;
use super::super::family::{Family, FamilyTokenizer, HeadNorm};
use super::super::rotary::{Rotary, RotarySizes};
use super::super::settings::{COMMON, ROTARY};
use super::super::windows::{sliding_layers, window};
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
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("num_key_value_heads", Honoured),
    ("rms_norm_eps", Honoured),
    ("rope_theta", Honoured),
    ("sliding_window", Honoured),
];

/// The rotary base.
const BASE: f64 = 500_000.0;

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let defaults = Defaults { bos: None, eos: Some(50_279), norm_epsilon: 1e-5, ..Defaults::LLAMA };
    let config = with_attention_bias(plain_decoder(&FAMILY, fields, &defaults)?, fields)?;
    let sizes = RotarySizes { head: config.head_size, max_positions: config.max_positions };
    // transformers takes a base at the top level for full attention only.
    let rotary = Rotary::of_kind(fields, "full_attention", fields.positive("rope_theta", BASE)?, sizes)?;
    let local = Rotary::of_kind(fields, "sliding_attention", BASE, sizes)?;
    let config = CausalConfig { rotary: Some(rotary), local_rotary: Some(local), ..config };
    let slides = sliding_layers(fields, config.n_layers, |layer| !(layer + 1).is_multiple_of(4))?;
    config.with_sliding(&slides, window(fields, Some(4096))?)
}

/// OLMo 3: OLMo 2 with windows in three of four layers, which have a rotary embedding of their own.
pub(super) static FAMILY: Family = Family {
    model_type: "olmo3",
    class: "Olmo3ForCausalLM",
    config_class: "Olmo3Config",
    names: super::OLMO_NAMES,
    head_norm: HeadNorm::Whole,
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Unchanged,
    gguf: None,
    ..Family::LLAMA
};
