//! Gemma, the first.

use super::super::common::{Defaults, llama_like, with_attention_bias};
use super::super::config::{Activation, CausalConfig, Scales};
use super::super::family::{Family, FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue, NormKind};
use super::super::settings::{COMMON, ROTARY};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table, refused};

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
    ("use_bidirectional_attention", refused("attention in both directions")),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let activation = ("hidden_act", "gelu_pytorch_tanh");
    let defaults = Defaults { activation, key_value_heads: Some(16), ..super::gemma_defaults(8192) };
    let config = with_attention_bias(llama_like(&FAMILY, fields, &defaults)?, fields)?;
    // The published files say gelu and mean its approximation.
    let activation = if config.activation == Activation::Gelu { Activation::GeluTanh } else { config.activation };
    let scales = Scales { embedding: (config.width as f64).sqrt(), ..Scales::PLAIN };
    Ok(CausalConfig { activation, scales, ..config })
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "gemma",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Same,
    settings: &[("hidden_act", GgufValue::Text("gelu_pytorch_tanh")), ("", GgufValue::Rotary)],
    keys: &[],
};

/// Gemma: Llama with norms times one more than their weight, and embeddings times the root of the width.
pub(super) static FAMILY: Family = Family {
    model_type: "gemma",
    class: "GemmaForCausalLM",
    config_class: "GemmaConfig",
    norm: NormKind::RmsPlusOne,
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Or("GemmaTokenizer"),
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
