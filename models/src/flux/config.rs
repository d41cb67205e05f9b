//! The config of a transformer, read from `config.json` and validated.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use serde_json::Value;

use crate::ModelError;
use crate::fields::Fields;
use crate::fields::declared::Kind::{Flag, Whole, Wholes};
use crate::fields::declared::{Table, honoured, refused};
use crate::image_batch::InputWidths;
use crate::network::{LayerShapes, adaptable_layers, initial_tensors};

/// An upper bound on all sizes, so that the count of a damaged file allocates little.
const MOST: usize = 1 << 20;
/// An upper bound on layers.
const MOST_LAYERS: usize = 512;
/// The width of the sinusoidal embedding of numbers, a constant in diffusers.
pub(super) const TIME_CHANNELS: usize = 256;
/// The side of the squares of latents that are packed into a row, a constant of the pipeline.
pub(crate) const PATCH: usize = 2;
/// The coordinates of the axes where the file names none, as those released first don't.
const USUAL_AXES: [usize; 3] = [16, 56, 56];
/// The guidance that a guided network is told of unless another is set: the pipeline's.
const USUAL_GUIDANCE: f64 = 3.5;

/// The validated shape of a `FluxTransformer2DModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct FluxConfig {
    /// Channels of the latents, a quarter of the file's, which counts them packed.
    pub in_channels: usize,
    /// Channels of the prediction, counted likewise.
    pub out_channels: usize,
    /// Blocks of two streams.
    pub n_layers: usize,
    /// Blocks of one stream, after them.
    pub n_single_layers: usize,
    /// The width of an attention head.
    pub head_size: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Width of the caption's hidden states.
    pub context: usize,
    /// Width of the pooled caption.
    pub pooled: usize,
    /// The coordinates of a head that rotate by each axis: one that is always 0, row and column.
    pub axes: Vec<usize>,
    /// The guidance that the network is told of, if it was distilled to be told (FLUX.1 dev): a setting of runs, not of
    /// the file.
    pub guidance: Option<f64>,
    /// The whole file, for saving.
    pub source: Value,
}

impl FluxConfig {
    /// The `_class_name` of `config.json`.
    pub const CLASS: &'static str = "FluxTransformer2DModel";

    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// Another class, a missing or invalid size; each names the key and its value.
    pub fn from_json(source: Value) -> Result<Self, ModelError> {
        let Value::Object(given) = &source else {
            return Err(ModelError::config("config.json", "the file must hold an object"));
        };
        let found = Fields::new(&source).required_text("_class_name")?;
        if found != Self::CLASS {
            return Err(ModelError::Architecture { found, supported: Self::CLASS.to_owned() });
        }
        DECLARED.refuse(given)?;
        DECLARED.check_kinds(given)?;
        let mut config = Self::from_known(&Value::Object(DECLARED.known(given)))?;
        config.source = source;
        Ok(config)
    }

    fn from_known(source: &Value) -> Result<Self, ModelError> {
        let fields = Fields::new(source);
        let size = |key: &str, most: usize| match fields.required_size(key)? {
            size if size <= most => Ok(size),
            size => Err(ModelError::config(key, format!("{size} is more than any model has"))),
        };
        let packed = |key: &str, size: usize| match size / (PATCH * PATCH) {
            channels if channels > 0 && channels * PATCH * PATCH == size => Ok(channels),
            _ => Err(ModelError::config(key, format!("{size} channels are no squares of {PATCH} by {PATCH}"))),
        };
        let in_channels = size("in_channels", MOST)?;
        let out_channels = fields.size("out_channels")?.unwrap_or(in_channels).min(MOST);
        let config = Self {
            in_channels: packed("in_channels", in_channels)?,
            out_channels: packed("out_channels", out_channels)?,
            n_layers: size("num_layers", MOST_LAYERS)?,
            n_single_layers: size("num_single_layers", MOST_LAYERS)?,
            head_size: size("attention_head_dim", MOST)?,
            n_heads: size("num_attention_heads", MOST)?,
            context: size("joint_attention_dim", MOST)?,
            pooled: size("pooled_projection_dim", MOST)?,
            axes: axes(source),
            guidance: source["guidance_embeds"].as_bool().unwrap_or(false).then_some(USUAL_GUIDANCE),
            source: Value::Null,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        let sum = self.axes.iter().fold(0usize, |sum, axis| sum.saturating_add(*axis));
        let is_even = self.axes.iter().all(|axis| axis.is_multiple_of(2));
        if self.axes.len() != USUAL_AXES.len() || !is_even || sum != self.head_size {
            let reason = format!(
                "{:?} must be three even numbers, which share the {} coordinates of a head",
                self.axes, self.head_size
            );
            return Err(ModelError::config("axes_dims_rope", reason));
        }
        if self.width() > MOST {
            let reason = format!("{} channels in all; at most {MOST} are read", self.width());
            return Err(ModelError::config("num_attention_heads", reason));
        }
        Ok(())
    }

    /// Sets the guidance that the network is told of; without effect on a network that is told of none (FLUX.1 schnell).
    ///
    /// # Errors
    /// A number that is not finite or below 0.
    pub fn with_guidance(self, guidance: f64) -> Result<Self, ModelError> {
        if !guidance.is_finite() || guidance < 0. {
            return Err(ModelError::Argument {
                what: "the guidance that a network is told of".to_owned(),
                expected: "a number from 0 up".to_owned(),
                got: guidance.to_string(),
            });
        }
        Ok(Self { guidance: self.guidance.map(|_| guidance), ..self })
    }

    /// The width of both streams.
    pub fn width(&self) -> usize {
        self.n_heads * self.head_size
    }

    /// The file's contents.
    pub fn to_json(&self) -> Value {
        self.source.clone()
    }

    /// All settings that affect the model's output, as text for a fingerprint.
    pub fn settings(&self) -> String {
        format!("{:?}", Self { source: Value::Null, ..self.clone() })
    }

    /// The widths of the network's inputs.
    pub(super) fn inputs(&self) -> InputWidths {
        InputWidths {
            channels: self.in_channels,
            context: Some(self.context),
            pooled: Some(self.pooled),
            has_sizes: false,
        }
    }

    /// The networks that embed numbers and the pooled caption, each with the width of its input.
    pub(super) fn embedders(&self) -> Vec<(&'static str, usize)> {
        let guidance = self.guidance.map(|_| ("guidance_embedder", TIME_CHANNELS));
        let usual = [("timestep_embedder", TIME_CHANNELS), ("text_embedder", self.pooled)];
        usual.into_iter().chain(guidance).collect()
    }

    /// Every tensor of the model, under its diffusers name.
    ///
    /// # Shapes
    /// Matrices are `[out, in]`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (mut shapes, width, packed) = (LayerShapes::default(), self.width(), PATCH * PATCH);
        shapes.linear("x_embedder", width, packed * self.in_channels);
        shapes.linear("context_embedder", width, self.context);
        for (name, n_in) in self.embedders() {
            shapes.linear(&format!("time_text_embed.{name}.linear_1"), width, n_in);
            shapes.linear(&format!("time_text_embed.{name}.linear_2"), width, width);
        }
        for layer in 0..self.n_layers {
            self.add_block(&mut shapes, layer);
        }
        for layer in 0..self.n_single_layers {
            self.add_single_block(&mut shapes, layer);
        }
        shapes.linear("norm_out.linear", 2 * width, width);
        shapes.linear("proj_out", packed * self.out_channels, width);
        shapes.tensors
    }

    fn add_block(&self, shapes: &mut LayerShapes, layer: usize) {
        let width = self.width();
        let part = |name: &str| format!("transformer_blocks.{layer}.{name}");
        for norm in ["norm1", "norm1_context"] {
            shapes.linear(&part(&format!("{norm}.linear")), 6 * width, width);
        }
        let joint = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"];
        for name in joint {
            shapes.linear(&part(&format!("attn.{name}")), width, width);
        }
        for norm in ["norm_q", "norm_k", "norm_added_q", "norm_added_k"] {
            shapes.scale(&part(&format!("attn.{norm}")), self.head_size);
        }
        for network in ["ff", "ff_context"] {
            shapes.linear(&part(&format!("{network}.net.0.proj")), 4 * width, width);
            shapes.linear(&part(&format!("{network}.net.2")), width, 4 * width);
        }
    }

    fn add_single_block(&self, shapes: &mut LayerShapes, layer: usize) {
        let width = self.width();
        let part = |name: &str| format!("single_transformer_blocks.{layer}.{name}");
        shapes.linear(&part("norm.linear"), 3 * width, width);
        for name in ["to_q", "to_k", "to_v"] {
            shapes.linear(&part(&format!("attn.{name}")), width, width);
        }
        for norm in ["norm_q", "norm_k"] {
            shapes.scale(&part(&format!("attn.{norm}")), self.head_size);
        }
        shapes.linear(&part("proj_mlp"), 4 * width, width);
        shapes.linear(&part("proj_out"), width, 5 * width);
    }

    /// Random initial tensors, as PyTorch initialises its layers. Modulations start at zero (adaLN-zero), so each block
    /// starts as the identity and the first prediction is zero.
    ///
    /// Each tensor depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors = initial_tensors(&self.tensor_shapes(), *noise, device)?;
        for (name, tensor) in &mut tensors {
            let is_modulation = ["norm1.linear.", "norm1_context.linear.", ".norm.linear.", "norm_out.linear."];
            if is_modulation.iter().any(|part| name.contains(part)) || name.starts_with("proj_out.") {
                *tensor = tensor.zeros_like()?;
            }
        }
        Ok(tensors)
    }

    /// The layers that can get an adapter: linear layers.
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        adaptable_layers(self.tensor_shapes())
    }
}

/// The checked coordinates of the axes.
fn axes(source: &Value) -> Vec<usize> {
    match &source["axes_dims_rope"] {
        Value::Null => USUAL_AXES.to_vec(),
        Value::Array(axes) => axes.iter().filter_map(Value::as_u64).map(|axis| axis as usize).collect(),
        one => one.as_u64().into_iter().map(|axis| axis as usize).collect(),
    }
}

/// The fields of `FluxTransformer2DModel`, and their handling.
const DECLARED: Table = Table(&[
    // The pipeline packs latents before the network, and reads its rows as packed ones.
    refused("patch_size", &["1"]),
    honoured("in_channels", Whole),
    honoured("out_channels", Whole).or_null(),
    honoured("num_layers", Whole),
    honoured("num_single_layers", Whole),
    honoured("attention_head_dim", Whole),
    honoured("num_attention_heads", Whole),
    honoured("joint_attention_dim", Whole),
    honoured("pooled_projection_dim", Whole),
    honoured("guidance_embeds", Flag),
    honoured("axes_dims_rope", Wholes),
    refused("quantization_config", &[]),
]);

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        crate::fields::declared::golden::check(super::FluxConfig::CLASS, super::DECLARED);
    }
}
