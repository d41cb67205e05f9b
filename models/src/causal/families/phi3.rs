//! Phi-3 and Phi-4.

use super::super::common::{Defaults, plain_decoder};
use super::super::config::CausalConfig;
use super::super::family::{Family, FamilyTokenizer, Gate, GgufFamily, GgufRows, GgufSizes, GgufValue, TensorNames};
use super::super::rotary::{Rotary, RotaryKeys};
use super::super::settings::{COMMON, ROTARY};
use super::super::windows::window;
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::table::{SettingHandling::Harmless, SettingHandling::Honoured, Table};

const SETTINGS: Table = &[
    ("attention_dropout", Harmless),
    ("embd_pdrop", Harmless),
    ("head_dim", Honoured),
    ("hidden_act", Honoured),
    ("hidden_size", Honoured),
    ("intermediate_size", Honoured),
    ("max_position_embeddings", Honoured),
    ("num_attention_heads", Honoured),
    ("num_hidden_layers", Honoured),
    ("num_key_value_heads", Honoured),
    ("partial_rotary_factor", Honoured),
    ("resid_pdrop", Harmless),
    ("rms_norm_eps", Honoured),
    ("rope_theta", Honoured),
    ("sliding_window", Honoured),
];

/// Reads a `config.json` of the family.
pub(super) fn read(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let defaults = Defaults { max_positions: 4096, eos: Some(32_000), norm_epsilon: 1e-5, ..Defaults::LLAMA };
    let config = plain_decoder(&FAMILY, fields, &defaults)?;
    let rotary = Rotary::read(fields, RotaryKeys::Phi3, config.head_size, config.max_positions)?;
    Ok(CausalConfig { rotary: Some(rotary), ..config }.with_window(window(fields, None)?))
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "phi3",
    sizes: GgufSizes::Grouped,
    rows: GgufRows::Same,
    settings: &[
        ("hidden_act", GgufValue::Text("silu")),
        ("sliding_window", GgufValue::Number("attention.sliding_window")),
        ("original_max_position_embeddings", GgufValue::NumberOr("rope.scaling.original_context_length", 4096.0)),
        ("", GgufValue::LongRotary),
    ],
    keys: &["attention.sliding_window", "rope.scaling.attn_factor"],
};

/// Phi-3 and Phi-4: Llama with fused projections, of which a share of the coordinates may rotate.
pub(super) static FAMILY: Family = Family {
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    config_class: "Phi3Config",
    names: TensorNames { qkv: &["self_attn.qkv_proj"], gate: None, up: "mlp.gate_up_proj", ..TensorNames::LLAMA },
    gate: Gate::Fused,
    settings: &[COMMON, ROTARY, SETTINGS],
    tokenizer: FamilyTokenizer::Unchanged,
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
