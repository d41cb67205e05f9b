//! SmolLM3.

use super::super::common::{Defaults, llama_like, with_attention_bias};
use super::super::config::{CausalConfig, Layer, LayerPositions, Layers};
use super::super::family::{Family, GgufFamily, GgufRows, GgufSizes, GgufValue};
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
    ("mlp_bias", Honoured),
    ("no_rope_layer_interval", Honoured),
    ("no_rope_layers", Honoured),
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
        bos: Some(128_000),
        eos: Some(128_001),
        tied: true,
        key_value_heads: Some(4),
        base: 2_000_000.0,
        ..Defaults::LLAMA
    };
    let config = with_attention_bias(llama_like(&FAMILY, fields, &defaults)?, fields)?;
    let config = CausalConfig { mlp_bias: fields.flag("mlp_bias", false)?, ..config };
    let window = window(fields, None)?;
    let slides = fields.flag("use_sliding_window", false)? && window.is_some();
    let interval = fields.size("no_rope_layer_interval")?.unwrap_or(4);
    let listed = fields.flags("no_rope_layers")?;
    if let Some(listed) = listed.as_ref().filter(|listed| listed.len() < config.n_layers) {
        let reason = format!("{} entries for {} layers", listed.len(), config.n_layers);
        return Err(ModelError::config("no_rope_layers", reason));
    }
    let rotates = |layer: usize| listed.as_ref().map_or(!(layer + 1).is_multiple_of(interval), |listed| listed[layer]);
    let sliding = sliding_layers(fields, config.n_layers, |layer| slides && !rotates(layer))?;
    let config = config.with_sliding(&sliding, window)?;
    let layer = |layer: usize| {
        let positions = if rotates(layer) { LayerPositions::Rotary } else { LayerPositions::Unrotated };
        Layer { positions, ..config.layers.at(layer) }
    };
    Ok(CausalConfig { layers: Layers::Listed((0..config.n_layers).map(layer).collect()), ..config })
}

const GGUF: GgufFamily = GgufFamily {
    architecture: "smollm3",
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

/// SmolLM3: Llama with some layers that have no rotary embedding.
pub(super) static FAMILY: Family = Family {
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    config_class: "SmolLM3Config",
    settings: &[COMMON, ROTARY, SETTINGS],
    gguf: Some(&GGUF),
    ..Family::LLAMA
};
