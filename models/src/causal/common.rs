//! What the readers of several families have in common.

use serde_json::Value;

use super::config::{Activation, CausalConfig, Layer, Layers, Scales};
use super::family::Family;
use super::rotary::{Rotary, RotaryKeys};
use crate::ModelError;
use crate::fields::Fields;

/// The head size if none is given; refuses a width that the heads do not divide.
pub(super) fn head_size(width: usize, heads: usize) -> Result<usize, ModelError> {
    if !width.is_multiple_of(heads) {
        let reason = format!("a width of {width} is not a multiple of {heads} heads");
        return Err(ModelError::config("num_attention_heads", reason));
    }
    Ok(width / heads)
}

/// What a family of Llama's kind takes where a file says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) max_positions: usize,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) tied: bool,
    pub(super) norm_epsilon: f64,
    /// The key of the activation, and its value.
    pub(super) activation: (&'static str, &'static str),
    /// The size of a head; `None` for the width over the heads.
    pub(super) head_size: Option<usize>,
    /// The key and value heads; `None` for as many as query heads.
    pub(super) key_value_heads: Option<usize>,
    /// The rotary base.
    pub(super) base: f64,
}

impl Defaults {
    pub(super) const LLAMA: Self = Self {
        max_positions: 2048,
        bos: Some(1),
        eos: Some(2),
        tied: false,
        norm_epsilon: 1e-6,
        activation: ("hidden_act", "silu"),
        head_size: None,
        key_value_heads: None,
        base: 10_000.0,
    };
}

/// Reads a decoder without rotary settings, biases, windows and factors: what families of Llama's kind have in common.
pub(super) fn plain_decoder(
    family: &'static Family,
    fields: Fields<'_>,
    defaults: &Defaults,
) -> Result<CausalConfig, ModelError> {
    let width = fields.required_size("hidden_size")?;
    let heads = fields.required_size("num_attention_heads")?;
    let given = fields.size("head_dim")?.or(defaults.head_size);
    let key_value = match fields.size("num_key_value_heads")? {
        Some(key_value) => key_value,
        None if fields.is_null("num_key_value_heads") => heads,
        None => defaults.key_value_heads.unwrap_or(heads),
    };
    Ok(CausalConfig {
        family,
        vocabulary: fields.required_size("vocab_size")?,
        width,
        n_layers: fields.required_size("num_hidden_layers")?,
        layers: Layers::Alike(Layer::FULL),
        n_query_heads: heads,
        n_key_value_heads: key_value,
        head_size: given.map_or_else(|| head_size(width, heads), Ok)?,
        inner: fields.required_size("intermediate_size")?,
        max_positions: fields.size("max_position_embeddings")?.unwrap_or(defaults.max_positions),
        norm_epsilon: fields.positive("rms_norm_eps", defaults.norm_epsilon)?,
        activation: activation(fields, defaults.activation.0, defaults.activation.1)?,
        tied: fields.flag("tie_word_embeddings", defaults.tied)?,
        parallel_residual: false,
        qkv_bias: false,
        attention_output_bias: false,
        mlp_bias: false,
        rotary: None,
        local_rotary: None,
        scales: Scales::PLAIN,
        bos: fields.token("bos_token_id", defaults.bos)?,
        eos: fields.tokens("eos_token_id", defaults.eos)?,
        external: None,
        source: Value::Null,
    })
}

/// Reads a decoder of Llama's kind: [`plain_decoder`] with one rotary embedding for all layers, which rotates whole heads.
pub(super) fn llama_like(
    family: &'static Family,
    fields: Fields<'_>,
    defaults: &Defaults,
) -> Result<CausalConfig, ModelError> {
    let config = plain_decoder(family, fields, defaults)?;
    let keys = RotaryKeys::Whole { base: defaults.base };
    let rotary = Rotary::read(fields, keys, config.head_size, config.max_positions)?;
    Ok(CausalConfig { rotary: Some(rotary), ..config })
}

/// The biases of attention's four projections, by the one switch for all.
pub(super) fn with_attention_bias(config: CausalConfig, fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let bias = fields.flag("attention_bias", false)?;
    Ok(CausalConfig { qkv_bias: bias, attention_output_bias: bias, ..config })
}

pub(super) fn activation(fields: Fields<'_>, key: &str, default: &str) -> Result<Activation, ModelError> {
    Activation::from_name(key, &fields.text(key)?.unwrap_or_else(|| default.to_owned()))
}
