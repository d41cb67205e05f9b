//! The config of a transformer, read from `config.json` and validated.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use engine::transfer::from_host;
use serde_json::Value;

use super::positions::position_table;
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::declared::Kind::{Whole, Wholes};
use crate::fields::declared::{Table, honoured, refused};
use crate::image_batch::InputWidths;
use crate::network::{LayerShapes, adaptable_layers, initial_tensors};

/// An upper bound on all sizes, so that the count of a damaged file allocates little.
const MOST: usize = 1 << 20;
/// An upper bound on layers.
const MOST_LAYERS: usize = 512;
/// An upper bound on the side of the position table.
const MOST_POSITIONS: usize = 1 << 12;
/// The width of the sinusoidal timestep embedding, a constant in diffusers.
pub(super) const TIME_CHANNELS: usize = 256;
/// The table of positions: a part of the files that is not trained.
pub(super) const POSITIONS: &str = "pos_embed.pos_embed";

/// The validated shape of a `SD3Transformer2DModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sd3Config {
    /// Height and width of the training latents, if the file has them.
    pub sample_size: Option<usize>,
    /// The side of a patch.
    pub patch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Blocks.
    pub n_layers: usize,
    /// The width of an attention head.
    pub head_size: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Width of the caption's hidden states.
    pub context: usize,
    /// Width of the pooled caption.
    pub pooled: usize,
    /// The side of the position table in patches, from whose middle each image's part is cropped.
    pub positions: usize,
    /// The blocks with a second attention, of the image's patches alone (SD3.5).
    pub dual_layers: BTreeSet<usize>,
    /// Whether queries and keys are normalised head by head (RMS norm; SD3.5).
    pub has_norms: bool,
    /// The whole file, for saving.
    pub source: Value,
}

impl Sd3Config {
    /// The `_class_name` of `config.json`.
    pub const CLASS: &'static str = "SD3Transformer2DModel";

    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// Another class, a missing or invalid size, an unsupported norm; each names the key and its value.
    pub fn from_json(source: Value) -> Result<Self, ModelError> {
        let Value::Object(given) = &source else {
            return Err(ModelError::config("config.json", "the file must hold an object"));
        };
        let found = Fields::new(&source).required_text("_class_name")?;
        if found != Self::CLASS {
            return Err(ModelError::Architecture { found, supported: Self::CLASS.to_owned() });
        }
        DECLARED.refuse(given)?;
        let mut config = Self::from_known(&Value::Object(DECLARED.known(given)))?;
        DECLARED.check_kinds(given)?;
        config.source = source;
        Ok(config)
    }

    fn from_known(source: &Value) -> Result<Self, ModelError> {
        let fields = Fields::new(source);
        let size = |key: &str, most: usize| match fields.required_size(key)? {
            size if size <= most => Ok(size),
            size => Err(ModelError::config(key, format!("{size} is more than any model has"))),
        };
        let in_channels = size("in_channels", MOST)?;
        let config = Self {
            sample_size: fields.size("sample_size")?,
            patch: size("patch_size", MOST_POSITIONS)?,
            in_channels,
            out_channels: fields.size("out_channels")?.unwrap_or(in_channels).min(MOST),
            n_layers: size("num_layers", MOST_LAYERS)?,
            head_size: size("attention_head_dim", MOST)?,
            n_heads: size("num_attention_heads", MOST)?,
            context: size("joint_attention_dim", MOST)?,
            pooled: size("pooled_projection_dim", MOST)?,
            positions: size("pos_embed_max_size", MOST_POSITIONS)?,
            dual_layers: dual_layers(source),
            has_norms: fields.text("qk_norm")?.is_some(),
            source: Value::Null,
        };
        config.check(size("caption_projection_dim", MOST)?)?;
        Ok(config)
    }

    fn check(&self, caption: usize) -> Result<(), ModelError> {
        let width = self.width();
        if caption != width {
            let reason = format!("{caption} is not the width of the blocks, {width} (heads times their size)");
            return Err(ModelError::config("caption_projection_dim", reason));
        }
        if !width.is_multiple_of(4) || width > MOST {
            let reason = format!("{width} channels in all; positions need a multiple of 4, of at most {MOST}");
            return Err(ModelError::config("num_attention_heads", reason));
        }
        match self.dual_layers.last().filter(|last| **last >= self.n_layers) {
            None => Ok(()),
            Some(last) => {
                let reason = format!("names layer {last} of {}, which are counted from 0", self.n_layers);
                Err(ModelError::config("dual_attention_layers", reason))
            }
        }
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
        format!("{:?}", Self { source: Value::Null, sample_size: None, ..self.clone() })
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

    /// Whether a block is the last, whose caption stream only attends and ends.
    pub(super) fn is_last(&self, layer: usize) -> bool {
        layer + 1 == self.n_layers
    }

    /// Every tensor of the model, under its diffusers name.
    ///
    /// # Shapes
    /// Matrices are `[out, in]`, kernels `[out, height, width, in]`, the position table `[1, positions^2, width]`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (mut shapes, width) = (LayerShapes::default(), self.width());
        shapes.convolution("pos_embed.proj", width, self.patch, self.in_channels);
        shapes.tensors.insert(POSITIONS.to_owned(), vec![1, self.positions * self.positions, width]);
        for (name, n_in) in [("timestep_embedder", TIME_CHANNELS), ("text_embedder", self.pooled)] {
            shapes.linear(&format!("time_text_embed.{name}.linear_1"), width, n_in);
            shapes.linear(&format!("time_text_embed.{name}.linear_2"), width, width);
        }
        shapes.linear("context_embedder", width, self.context);
        for layer in 0..self.n_layers {
            self.add_block(&mut shapes, layer);
        }
        shapes.linear("norm_out.linear", 2 * width, width);
        shapes.linear("proj_out", self.patch * self.patch * self.out_channels, width);
        shapes.tensors
    }

    fn add_block(&self, shapes: &mut LayerShapes, layer: usize) {
        let (width, is_last) = (self.width(), self.is_last(layer));
        let is_dual = self.dual_layers.contains(&layer);
        let part = |name: &str| format!("transformer_blocks.{layer}.{name}");
        shapes.linear(&part("norm1.linear"), if is_dual { 9 * width } else { 6 * width }, width);
        shapes.linear(&part("norm1_context.linear"), if is_last { 2 * width } else { 6 * width }, width);
        let joint = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj"];
        for name in joint {
            shapes.linear(&part(&format!("attn.{name}")), width, width);
        }
        if !is_last {
            shapes.linear(&part("attn.to_add_out"), width, width);
        }
        if is_dual {
            for name in &joint[..4] {
                shapes.linear(&part(&format!("attn2.{name}")), width, width);
            }
        }
        if self.has_norms {
            for norm in ["norm_q", "norm_k", "norm_added_q", "norm_added_k"] {
                shapes.scale(&part(&format!("attn.{norm}")), self.head_size);
            }
            for norm in ["norm_q", "norm_k"].iter().filter(|_| is_dual) {
                shapes.scale(&part(&format!("attn2.{norm}")), self.head_size);
            }
        }
        for network in ["ff", "ff_context"].iter().take(if is_last { 1 } else { 2 }) {
            shapes.linear(&part(&format!("{network}.net.0.proj")), 4 * width, width);
            shapes.linear(&part(&format!("{network}.net.2")), width, 4 * width);
        }
    }

    /// Random initial tensors, as PyTorch initialises its layers, with the position table of the paper. Modulations
    /// start at zero (adaLN-zero), so each block starts as the identity and the first prediction is zero.
    ///
    /// Each tensor depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors = initial_tensors(&self.tensor_shapes(), *noise, device)?;
        for (name, tensor) in &mut tensors {
            let is_modulation = ["norm1.linear.", "norm1_context.linear.", "norm_out.linear.", "proj_out."];
            if name == POSITIONS {
                // Training images span as many positions as they have patches.
                let size = self.sample_size.ok_or_else(|| ModelError::config("sample_size", "is missing"))?;
                let table = position_table(self.positions, self.width(), size / self.patch);
                *tensor = from_host(table, (1, self.positions * self.positions, self.width()), device)?;
            } else if is_modulation.iter().any(|part| name.contains(part)) {
                *tensor = tensor.zeros_like()?;
            }
        }
        Ok(tensors)
    }

    /// The layers that can get an adapter: linear layers and the embedding of patches.
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        adaptable_layers(self.tensor_shapes())
    }
}

/// The checked list of layers; its kind is checked with all others.
fn dual_layers(source: &Value) -> BTreeSet<usize> {
    let layers = source["dual_attention_layers"].as_array().into_iter().flatten();
    layers.filter_map(Value::as_u64).map(|layer| layer as usize).collect()
}

/// The fields of `SD3Transformer2DModel`, and their handling.
const DECLARED: Table = Table(&[
    honoured("sample_size", Whole).or_null(),
    honoured("patch_size", Whole),
    honoured("in_channels", Whole),
    honoured("num_layers", Whole),
    honoured("attention_head_dim", Whole),
    honoured("num_attention_heads", Whole),
    honoured("joint_attention_dim", Whole),
    honoured("caption_projection_dim", Whole),
    honoured("pooled_projection_dim", Whole),
    honoured("out_channels", Whole).or_null(),
    honoured("pos_embed_max_size", Whole),
    honoured("dual_attention_layers", Wholes).or_null(),
    refused("qk_norm", &["rms_norm"]),
    refused("quantization_config", &[]),
]);

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        crate::fields::declared::golden::check(super::Sd3Config::CLASS, super::DECLARED);
    }
}
