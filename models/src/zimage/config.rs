//! The config of a transformer, read from `config.json` and validated.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use serde_json::Value;

use super::PATCH;
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::declared::Kind::{Any, Flag, Number, Whole, Wholes};
use crate::fields::declared::{Table, harmless, honoured, refused};
use crate::image_batch::InputWidths;
use crate::network::{LayerShapes, adaptable_layers, initial_tensors};

/// An upper bound on all sizes, so that the count of a damaged file allocates little.
const MOST: usize = 1 << 20;
/// An upper bound on layers.
const MOST_LAYERS: usize = 512;
/// The width of the sinusoidal timestep embedding, a constant in diffusers.
pub(super) const TIME_CHANNELS: usize = 256;
/// The hidden width of the timestep's network, a constant in diffusers.
const TIME_INNER: usize = 1024;
/// The largest width of the embedded time, a constant in diffusers.
const MOST_TOLD: usize = 256;
/// The learned rows that fill up patches and captions.
pub(super) const PATCH_FILLER: &str = "x_pad_token";
pub(super) const CAPTION_FILLER: &str = "cap_pad_token";

/// The validated shape of a `ZImageTransformer2DModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct ZImageConfig {
    /// Channels of the input and of the prediction.
    pub in_channels: usize,
    /// The width of the stream.
    pub width: usize,
    /// Blocks of the joined stream.
    pub n_layers: usize,
    /// Blocks of the patches alone, and as many of the caption alone.
    pub n_refiners: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Width of the caption's hidden states.
    pub context: usize,
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
    /// Whether queries and keys are normalised head by head (RMS norm).
    pub has_norms: bool,
    /// The base of the rotary embedding.
    pub rotary_base: f64,
    /// The factor of times from 0 to 1 before they are embedded.
    pub time_scale: f64,
    /// The coordinates of a head that rotate by the position on each axis: sequence, row, column.
    pub axes: [usize; 3],
    /// The positions of each axis.
    pub axis_lengths: [usize; 3],
    /// The whole file, for saving.
    pub source: Value,
}

impl ZImageConfig {
    /// The `_class_name` of `config.json`.
    pub const CLASS: &'static str = "ZImageTransformer2DModel";

    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// Another class, a missing or invalid size, patches of other sizes, image conditions; each names the key and its
    /// value.
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
        let n_refiners = fields.count("n_refiner_layers")?.unwrap_or(2);
        if n_refiners > MOST_LAYERS {
            return Err(ModelError::config("n_refiner_layers", format!("{n_refiners} is more than any model has")));
        }
        let config = Self {
            in_channels: size("in_channels", MOST)?,
            width: size("dim", MOST)?,
            n_layers: size("n_layers", MOST_LAYERS)?,
            n_refiners,
            n_heads: size("n_heads", MOST)?,
            context: size("cap_feat_dim", MOST)?,
            norm_epsilon: fields.positive("norm_eps", 1e-5)?,
            has_norms: fields.flag("qk_norm", true)?,
            rotary_base: fields.positive("rope_theta", 256.)?,
            time_scale: fields.positive("t_scale", 1000.)?,
            axes: three(source, "axes_dims", [32, 48, 48])?,
            axis_lengths: three(source, "axes_lens", [1024, 512, 512])?,
            source: Value::Null,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        let wrong = |key: &str, reason: String| Err(ModelError::config(key, reason));
        if let Some(odd) = self.axes.iter().find(|axis| !axis.is_multiple_of(2)) {
            return wrong("axes_dims", format!("{odd} coordinates of an axis are no pairs"));
        }
        let (heads, of_heads) = (self.n_heads, self.head_size() * self.n_heads);
        if of_heads != self.width {
            let axes = self.head_size();
            let reason = format!("{} is not {heads} heads of the {axes} coordinates of all axes", self.width);
            return wrong("dim", reason);
        }
        Ok(())
    }

    /// The width of an attention head.
    pub fn head_size(&self) -> usize {
        self.axes.iter().sum()
    }

    /// The width of the embedded time.
    pub(super) fn told(&self) -> usize {
        self.width.min(MOST_TOLD)
    }

    /// The hidden width of a feed-forward network, rounded down as diffusers computes it.
    fn inner(&self) -> usize {
        (self.width as f64 / 3. * 8.) as usize
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
        InputWidths { channels: self.in_channels, context: Some(self.context), pooled: None, has_sizes: false }
    }

    /// Every tensor of the model, under its diffusers name.
    ///
    /// # Shapes
    /// Matrices are `[out, in]`, the rows that fill up `[1, width]`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (mut shapes, width, told) = (LayerShapes::default(), self.width, self.told());
        let pixels = PATCH * PATCH * self.in_channels;
        shapes.linear("all_x_embedder.2-1", width, pixels);
        shapes.linear("all_final_layer.2-1.linear", pixels, width);
        shapes.linear("all_final_layer.2-1.adaLN_modulation.1", width, told);
        shapes.linear("t_embedder.mlp.0", TIME_INNER, TIME_CHANNELS);
        shapes.linear("t_embedder.mlp.2", told, TIME_INNER);
        shapes.scale("cap_embedder.0", self.context);
        shapes.linear("cap_embedder.1", width, self.context);
        for filler in [PATCH_FILLER, CAPTION_FILLER] {
            shapes.tensors.insert(filler.to_owned(), vec![1, width]);
        }
        for stack in Stack::ALL {
            for layer in 0..stack.n_layers(self) {
                self.add_block(&mut shapes, stack, layer);
            }
        }
        shapes.tensors
    }

    fn add_block(&self, shapes: &mut LayerShapes, stack: Stack, layer: usize) {
        let width = self.width;
        let part = |name: &str| stack.name(layer, name);
        for name in ["to_q", "to_k", "to_v", "to_out.0"] {
            shapes.matrix(&part(&format!("attention.{name}")), width, width);
        }
        for name in ["norm_q", "norm_k"].iter().filter(|_| self.has_norms) {
            shapes.scale(&part(&format!("attention.{name}")), self.head_size());
        }
        shapes.matrix(&part("feed_forward.w1"), self.inner(), width);
        shapes.matrix(&part("feed_forward.w2"), width, self.inner());
        shapes.matrix(&part("feed_forward.w3"), self.inner(), width);
        for norm in ["attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"] {
            shapes.scale(&part(norm), width);
        }
        if stack.is_modulated() {
            shapes.linear(&part("adaLN_modulation.0"), 4 * width, self.told());
        }
    }

    /// Random initial tensors, as PyTorch initialises its layers; the rows that fill up start at zero, as in diffusers.
    ///
    /// Each tensor depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors = initial_tensors(&self.tensor_shapes(), *noise, device)?;
        for filler in [PATCH_FILLER, CAPTION_FILLER] {
            if let Some(tensor) = tensors.get_mut(filler) {
                *tensor = tensor.zeros_like()?;
            }
        }
        Ok(tensors)
    }

    /// The layers that can get an adapter: all linear layers.
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        adaptable_layers(self.tensor_shapes())
    }
}

/// A stack of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    /// On the patches alone.
    Patches,
    /// On the caption alone, which does not know the time.
    Caption,
    /// On the joined stream.
    Joint,
}

impl Stack {
    const ALL: [Self; 3] = [Self::Patches, Self::Caption, Self::Joint];

    pub(super) fn n_layers(self, config: &ZImageConfig) -> usize {
        match self {
            Self::Patches | Self::Caption => config.n_refiners,
            Self::Joint => config.n_layers,
        }
    }

    /// Whether the time modulates its blocks.
    pub(super) fn is_modulated(self) -> bool {
        match self {
            Self::Patches | Self::Joint => true,
            Self::Caption => false,
        }
    }

    /// The name of a part of a block.
    pub(super) fn name(self, layer: usize, part: &str) -> String {
        let stack = match self {
            Self::Patches => "noise_refiner",
            Self::Caption => "context_refiner",
            Self::Joint => "layers",
        };
        format!("{stack}.{layer}.{part}")
    }
}

/// A list of three positive sizes.
fn three(source: &Value, key: &str, default: [usize; 3]) -> Result<[usize; 3], ModelError> {
    let Some(value) = Fields::new(source).value(key) else { return Ok(default) };
    let size = |value: &Value| value.as_u64().map(|size| size as usize).filter(|size| (1..=MOST).contains(size));
    let sizes = value.as_array().and_then(|list| list.iter().map(size).collect::<Option<Vec<_>>>());
    let sizes = sizes.and_then(|sizes| <[usize; 3]>::try_from(sizes).ok());
    sizes.ok_or_else(|| Fields::wrong(key, "three positive whole numbers", value))
}

/// The fields of `ZImageTransformer2DModel`, and their handling.
const DECLARED: Table = Table(&[
    refused("all_patch_size", &["[2]"]),
    refused("all_f_patch_size", &["[1]"]),
    honoured("in_channels", Whole),
    honoured("dim", Whole),
    honoured("n_layers", Whole),
    honoured("n_refiner_layers", Whole),
    honoured("n_heads", Whole),
    // diffusers gives each head keys and values of its own, whatever this says.
    harmless("n_kv_heads", Any),
    honoured("norm_eps", Number),
    honoured("qk_norm", Flag),
    honoured("cap_feat_dim", Whole),
    // Images as conditions (Omni).
    refused("siglip_feat_dim", &[]),
    honoured("rope_theta", Number),
    honoured("t_scale", Number),
    honoured("axes_dims", Wholes),
    honoured("axes_lens", Wholes),
    refused("quantization_config", &[]),
]);

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_that_diffusers_declares_has_a_fate() {
        crate::fields::declared::golden::check(super::ZImageConfig::CLASS, super::DECLARED);
    }
}
