//! The config of a transformer, read from `config.json` and validated.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use serde_json::{Map, Value};

use super::declared;
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::declared::Table;
use crate::image_batch::InputWidths;
use crate::network::{LayerShapes, adaptable_layers, initial_tensors};

/// An upper bound on all sizes, so that the count of a damaged file allocates little.
const MOST: usize = 1 << 20;
/// An upper bound on layers.
const MOST_LAYERS: usize = 512;
/// The width of the sinusoidal embeddings of times and sizes, a constant in diffusers.
pub(super) const WAVES: usize = 256;

/// The validated shape of a `PixArtTransformer2DModel` or `DiTTransformer2DModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct DitConfig {
    /// Height and width of the training latents, which the positions of patches span.
    pub sample_size: usize,
    /// The side of a patch.
    pub patch: usize,
    /// Channels of the input and of the prediction.
    pub in_channels: usize,
    /// Channels of the last layer, a variance included.
    pub out_channels: usize,
    /// Blocks.
    pub n_layers: usize,
    /// The width of an attention head.
    pub head_size: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Whether queries, keys and values have a bias.
    pub has_attention_bias: bool,
    /// The activation of the feed-forward networks.
    pub activation: DitActivation,
    /// Epsilon of the blocks' norms; DiT's first norm and the last one have a constant.
    pub epsilon: f64,
    /// What it is told of an image beside the time.
    pub told: DitConditioning,
    /// The whole file, for saving.
    pub source: Value,
}

/// The activation of the feed-forward networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DitActivation {
    /// GELU with a hyperbolic tangent (`gelu-approximate`).
    GeluTanh,
    /// The exact GELU (`gelu`).
    Gelu,
}

/// What a transformer is told of an image beside the time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DitConditioning {
    /// A caption's hidden states, which its patches attend to (PixArt).
    Captions {
        /// The width of a hidden state.
        width: usize,
        /// The width that attention reads: the network's own if the states are projected to it first.
        read: usize,
        /// Whether the states are projected.
        is_projected: bool,
        /// Whether height, width and their ratio are read (`use_additional_conditions`).
        has_sizes: bool,
        /// The factor by which positions lie closer than in the smallest model.
        interpolation: f64,
    },
    /// The number of a class (DiT).
    Classes {
        /// The number of classes; the number after the last stands for no class.
        n: usize,
    },
}

impl DitConfig {
    /// The `_class_name` of PixArt's `config.json`.
    pub const PIXART: &'static str = "PixArtTransformer2DModel";
    /// The `_class_name` of DiT's `config.json`.
    pub const DIT: &'static str = "DiTTransformer2DModel";
    /// The `_class_name` that released files of both have; their `norm_type` tells them apart, as in diffusers.
    pub const EITHER: &'static str = "Transformer2DModel";

    /// The class that diffusers makes of a `config.json`; `None` if it is another than these two.
    pub(crate) fn class_of(source: &Value) -> Option<&'static str> {
        match (source["_class_name"].as_str()?, source["norm_type"].as_str()) {
            (Self::PIXART, _) | (Self::EITHER, Some("ada_norm_single")) => Some(Self::PIXART),
            (Self::DIT, _) | (Self::EITHER, Some("ada_norm_zero")) => Some(Self::DIT),
            _ => None,
        }
    }

    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// Another class, an invalid size, an unsupported norm or activation; each names the key and its value.
    pub fn from_json(source: Value) -> Result<Self, ModelError> {
        let Value::Object(given) = &source else {
            return Err(ModelError::config("config.json", "the file must hold an object"));
        };
        let Some(class) = Self::class_of(&source) else {
            let found = Fields::new(&source).required_text("_class_name")?;
            let kind = Fields::new(&source).value("norm_type").map(|kind| format!(" of `norm_type` {kind}"));
            let supported = [Self::PIXART, Self::DIT].join(", ");
            return Err(ModelError::Architecture { found: found + &kind.unwrap_or_default(), supported });
        };
        let table = if class == Self::PIXART { declared::PIXART } else { declared::DIT };
        let mut config = Self::from_known(class, table, given)?;
        config.source = source;
        Ok(config)
    }

    fn from_known(class: &str, table: Table, given: &Map<String, Value>) -> Result<Self, ModelError> {
        table.refuse(given)?;
        let known = Value::Object(table.known(given));
        let fields = Fields::new(&known);
        let size = |key: &str, default: usize, most: usize| match fields.size(key)?.unwrap_or(default) {
            size if size <= most => Ok(size),
            size => Err(ModelError::config(key, format!("{size} is more than any model has"))),
        };
        let is_pixart = class == Self::PIXART;
        let in_channels = size("in_channels", 4, MOST)?;
        let out_channels = if is_pixart && !given.contains_key("out_channels") { 8 } else { in_channels };
        let sample_size = size("sample_size", if is_pixart { 128 } else { 32 }, MOST)?;
        let (n_heads, head_size) = (size("num_attention_heads", 16, MOST)?, size("attention_head_dim", 72, MOST)?);
        let told = if is_pixart {
            captions(fields, sample_size, n_heads.saturating_mul(head_size))?
        } else {
            DitConditioning::Classes { n: size("num_embeds_ada_norm", 1000, MOST)? }
        };
        let config = Self {
            sample_size,
            patch: size("patch_size", 2, MOST)?,
            in_channels,
            out_channels: size("out_channels", out_channels, MOST)?,
            n_layers: size("num_layers", 28, MOST_LAYERS)?,
            head_size,
            n_heads,
            has_attention_bias: fields.flag("attention_bias", true)?,
            activation: match fields.text("activation_fn")?.as_deref() {
                Some("gelu") => DitActivation::Gelu,
                _ => DitActivation::GeluTanh,
            },
            epsilon: fields.positive("norm_eps", if is_pixart { 1e-6 } else { 1e-5 })?,
            told,
            source: Value::Null,
        };
        table.check_kinds(given)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        let width = self.n_heads.saturating_mul(self.head_size);
        if !width.is_multiple_of(4) || width > MOST {
            let reason = format!("{width} channels in all; positions need a multiple of 4, of at most {MOST}");
            return Err(ModelError::config("num_attention_heads", reason));
        }
        if self.sample_size < self.patch {
            let reason = format!("{} is less than `patch_size`, {}", self.sample_size, self.patch);
            return Err(ModelError::config("sample_size", reason));
        }
        match self.told {
            DitConditioning::Captions { has_sizes: true, .. } if !width.is_multiple_of(3) => {
                let reason = format!("the three embeddings of sizes need a multiple of 3 channels, not {width}");
                Err(ModelError::config("use_additional_conditions", reason))
            }
            DitConditioning::Captions { is_projected: true, read, .. } if read != width => {
                let reason = format!("captions are projected to the width of the blocks, {width}, not {read}");
                Err(ModelError::config("cross_attention_dim", reason))
            }
            DitConditioning::Captions { .. } | DitConditioning::Classes { .. } => Ok(()),
        }
    }

    /// The class in diffusers.
    pub fn class(&self) -> &'static str {
        match self.told {
            DitConditioning::Captions { .. } => Self::PIXART,
            DitConditioning::Classes { .. } => Self::DIT,
        }
    }

    /// The width of a patch's row.
    pub fn width(&self) -> usize {
        self.n_heads * self.head_size
    }

    /// The channels of the prediction, without a variance.
    pub fn predicted(&self) -> usize {
        if self.predicts_variance() { self.in_channels } else { self.out_channels }
    }

    /// Whether the last layer predicts a variance too, which nothing reads.
    pub fn predicts_variance(&self) -> bool {
        self.out_channels == 2 * self.in_channels
    }

    /// The number of positions that the side of an image spans.
    pub(super) fn span(&self) -> f64 {
        let side = (self.sample_size / self.patch) as f64;
        match self.told {
            DitConditioning::Captions { interpolation, .. } => side / interpolation,
            DitConditioning::Classes { .. } => side,
        }
    }

    /// The file's contents.
    pub fn to_json(&self) -> Value {
        self.source.clone()
    }

    /// All settings that affect the model's output, as text for a fingerprint.
    pub fn settings(&self) -> String {
        format!("{:?}", Self { source: Value::Null, ..self.clone() })
    }

    /// The widths of the network's inputs; sizes and classes are checked beside them.
    pub(super) fn inputs(&self) -> InputWidths {
        let context = match self.told {
            DitConditioning::Captions { width, .. } => Some(width),
            DitConditioning::Classes { .. } => None,
        };
        InputWidths { channels: self.in_channels, context, pooled: None, has_sizes: false }
    }

    /// Every tensor of the model, under its diffusers name.
    ///
    /// # Shapes
    /// Matrices are `[out, in]`, kernels `[out, height, width, in]`, tables of scales and shifts `[vectors, width]`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (mut shapes, width) = (LayerShapes::default(), self.width());
        shapes.convolution("pos_embed.proj", width, self.patch, self.in_channels);
        let last = self.patch * self.patch * self.out_channels;
        match self.told {
            DitConditioning::Captions { width: states, is_projected, has_sizes, .. } => {
                let embedding = "adaln_single.emb";
                add_embedder(&mut shapes, &format!("{embedding}.timestep_embedder"), width);
                for name in ["resolution_embedder", "aspect_ratio_embedder"].iter().filter(|_| has_sizes) {
                    add_embedder(&mut shapes, &format!("{embedding}.{name}"), width / 3);
                }
                shapes.linear("adaln_single.linear", 6 * width, width);
                if is_projected {
                    shapes.linear("caption_projection.linear_1", width, states);
                    shapes.linear("caption_projection.linear_2", width, width);
                }
                shapes.tensors.insert("scale_shift_table".to_owned(), vec![2, width]);
                shapes.linear("proj_out", last, width);
            }
            DitConditioning::Classes { .. } => {
                shapes.linear("proj_out_1", 2 * width, width);
                shapes.linear("proj_out_2", last, width);
            }
        }
        (0..self.n_layers).for_each(|layer| self.add_block(&mut shapes, layer));
        shapes.tensors
    }

    fn add_block(&self, shapes: &mut LayerShapes, layer: usize) {
        let width = self.width();
        let part = |name: &str| format!("transformer_blocks.{layer}.{name}");
        let attention = |shapes: &mut LayerShapes, name: &str, read: usize| {
            for (projection, n_in) in [("to_q", width), ("to_k", read), ("to_v", read)] {
                let name = part(&format!("{name}.{projection}"));
                if self.has_attention_bias {
                    shapes.linear(&name, width, n_in);
                } else {
                    shapes.matrix(&name, width, n_in);
                }
            }
            shapes.linear(&part(&format!("{name}.to_out.0")), width, width);
        };
        attention(shapes, "attn1", width);
        match self.told {
            DitConditioning::Captions { read, .. } => {
                attention(shapes, "attn2", read);
                shapes.tensors.insert(part("scale_shift_table"), vec![6, width]);
            }
            DitConditioning::Classes { n } => {
                add_embedder(shapes, &part("norm1.emb.timestep_embedder"), width);
                shapes.matrix(&part(CLASSES), n + 1, width);
                shapes.linear(&part("norm1.linear"), 6 * width, width);
            }
        }
        shapes.linear(&part("ff.net.0.proj"), 4 * width, width);
        shapes.linear(&part("ff.net.2"), width, 4 * width);
    }

    /// Random initial tensors, as PyTorch initialises its layers. The last layer starts at zero, so the first prediction
    /// is zero; so do DiT's modulations (adaLN-zero), and PixArt's attention to captions adds nothing at first.
    ///
    /// Each tensor depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors = initial_tensors(&self.tensor_shapes(), *noise, device)?;
        for (name, tensor) in &mut tensors {
            if name.starts_with("proj_out")
                || ["norm1.linear.", "attn2.to_out.0."].iter().any(|part| name.contains(part))
            {
                *tensor = tensor.zeros_like()?;
            }
        }
        Ok(tensors)
    }

    /// The layers that can get an adapter: linear layers and the embedding of patches, not that of classes.
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        let mut layers = adaptable_layers(self.tensor_shapes());
        layers.retain(|layer| !layer.name.ends_with(CLASSES));
        layers
    }

    /// Whether a tensor of a file is no part of the network: earlier versions of diffusers kept an empty caption in it.
    pub(crate) fn is_unused(stored: &str) -> bool {
        stored == "caption_projection.y_embedding"
    }
}

/// The table of classes of a block.
pub(super) const CLASSES: &str = "norm1.emb.class_embedder.embedding_table";

/// The two layers that embed sines and cosines.
fn add_embedder(shapes: &mut LayerShapes, name: &str, width: usize) {
    shapes.linear(&format!("{name}.linear_1"), width, WAVES);
    shapes.linear(&format!("{name}.linear_2"), width, width);
}

/// PixArt's settings of captions and sizes.
fn captions(fields: Fields<'_>, sample_size: usize, own: usize) -> Result<DitConditioning, ModelError> {
    if fields.is_null("cross_attention_dim") {
        return Err(ModelError::config(
            "cross_attention_dim",
            "is null: a model without attention to captions is not built",
        ));
    }
    let read = fields.size("cross_attention_dim")?.unwrap_or(1152);
    let states = fields.size("caption_channels")?;
    if states.unwrap_or(0).max(read) > MOST || own > MOST {
        return Err(ModelError::config("cross_attention_dim", format!("{read} is more than any model has")));
    }
    // As diffusers decides if neither is given.
    let has_sizes = match fields.value("use_additional_conditions") {
        Some(_) => fields.flag("use_additional_conditions", false)?,
        None => sample_size == 128,
    };
    let interpolation = fields.number("interpolation_scale")?.unwrap_or((sample_size / 64).max(1) as f64);
    Ok(DitConditioning::Captions {
        width: states.unwrap_or(read),
        read,
        is_projected: states.is_some(),
        has_sizes,
        interpolation,
    })
}
