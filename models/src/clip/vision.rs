//! The image encoder.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::ops::{self, Block, Convolution, Grid, Padding};
use engine::transfer::{from_host, to_host};
use serde_json::Value;

use super::encoder::{Blocks, Encoder, with_bias};
use crate::ModelError;
use crate::fields::Fields;
use crate::tensors;

/// Images per batch.
const IMAGES_AT_ONCE: usize = 8;

/// The config of a CLIP image encoder with its projection.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipVisionConfig {
    /// The side length of an image in pixels.
    pub image_size: usize,
    /// The side length of a patch; remaining pixels are ignored.
    pub patch_size: usize,
    /// The width of the projected state.
    pub projection: usize,
    blocks: Blocks,
}

impl ClipVisionConfig {
    /// Reads the `vision_config` of a `CLIPModel` with a projection to `projection` numbers.
    ///
    /// # Errors
    /// Settings that are missing, invalid or not supported.
    pub fn from_json(source: &Value, projection: usize) -> Result<Self, ModelError> {
        let fields = Fields::new(source);
        let config = Self {
            image_size: fields.size("image_size")?.unwrap_or(224),
            patch_size: fields.size("patch_size")?.unwrap_or(32),
            projection,
            blocks: Blocks::from_json(source)?,
        };
        let channels = fields.size("num_channels")?.unwrap_or(CHANNELS);
        if channels != CHANNELS {
            return Err(ModelError::config("num_channels", format!("{channels}; images have {CHANNELS}")));
        }
        if config.patch_size > config.image_size || config.image_size > MOST_PIXELS {
            let reason = format!("patches of {} in images of {}", config.patch_size, config.image_size);
            return Err(ModelError::config("patch_size", reason));
        }
        Ok(config)
    }

    /// Patches of an image.
    fn n_patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Every tensor with its shape in memory; names are without `vision_model.`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (width, patch) = (self.blocks.width, self.patch_size);
        let mut shapes = self.blocks.shapes();
        shapes.insert("embeddings.class_embedding".into(), vec![width]);
        shapes.insert("embeddings.patch_embedding.weight".into(), vec![width, patch, patch, CHANNELS]);
        shapes.insert("embeddings.position_embedding.weight".into(), vec![self.n_patches() + 1, width]);
        // Every published file has this misspelling.
        with_bias(&mut shapes, "pre_layrnorm", &[width]);
        with_bias(&mut shapes, "post_layernorm", &[width]);
        shapes.insert("visual_projection.weight".into(), vec![self.projection, width]);
        shapes
    }

    /// The name of a stored tensor without `vision_model.`; `None` for buffers and for the text half.
    pub(crate) fn canonical_name(stored: &str) -> Option<String> {
        let name = stored.strip_prefix("vision_model.").unwrap_or(stored);
        let text_half = ["text_model.", "text_projection."].iter().any(|prefix| name.starts_with(prefix));
        let buffer = name.ends_with("position_ids") || name == "logit_scale";
        (!text_half && !buffer).then(|| name.to_owned())
    }
}

const CHANNELS: usize = 3;

/// An upper bound on the image size.
const MOST_PIXELS: usize = 4096;

/// A frozen CLIP image encoder: the vision half of a `CLIPModel` of transformers.
#[derive(Debug)]
pub struct ClipVision {
    config: ClipVisionConfig,
    encoder: Encoder,
}

impl ClipVision {
    /// Makes an encoder from its config and the tensors of [`ClipVisionConfig::tensor_shapes`].
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn new(config: ClipVisionConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check("CLIP vision", &config.tensor_shapes(), &tensors)?;
        Ok(Self { encoder: Encoder::new(config.blocks, tensors)?, config })
    }

    /// The encoder's config.
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// The projected state of each image, `[projection]`.
    ///
    /// # Shapes
    /// An image is `[image_size, image_size, 3]`: rows, columns, channels, normalised as for the encoder.
    ///
    /// # Errors
    /// An image of another size.
    pub fn encode(&self, images: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let n = self.config.image_size.pow(2) * CHANNELS;
        if let Some(image) = images.iter().find(|image| image.len() != n) {
            return Err(ModelError::Argument {
                what: "numbers of an image".to_owned(),
                expected: n.to_string(),
                got: image.len().to_string(),
            });
        }
        let mut all = Vec::with_capacity(images.len());
        for images in images.chunks(IMAGES_AT_ONCE) {
            let encoded = self.encode_batch(images)?;
            all.extend(to_host(&encoded)?.chunks_exact(encoded.dim(1)?).map(<[f32]>::to_vec));
        }
        Ok(all)
    }

    fn encode_batch(&self, images: &[Vec<f32>]) -> Result<Tensor, ModelError> {
        let ClipVisionConfig { image_size, patch_size, .. } = self.config;
        let (n, tokens) = (images.len(), self.config.n_patches() + 1);
        let class = self.encoder.tensor("embeddings.class_embedding")?;
        let grid = Grid { images: n, height: image_size, width: image_size };
        let pixels = from_host(images.concat(), (grid.rows(), CHANNELS), class.device())?;
        let moves = Convolution { stride: patch_size, padding: Padding::default() };
        let kernel = self.encoder.weight("embeddings.patch_embedding")?;
        let patches = ops::conv2d(&pixels, kernel, None, grid, moves)?;
        // An image's class token and patches.
        let table = Tensor::cat(&[&class.unsqueeze(0)?, &patches], 0)?;
        let row = |i: usize| if i.is_multiple_of(tokens) { 0 } else { i - i / tokens };
        let rows: Vec<u32> = (0..n * tokens).map(|i| row(i) as u32).collect();
        let places: Vec<u32> = (0..n * tokens).map(|i| (i % tokens) as u32).collect();
        let places = ops::embedding(&places, self.encoder.weight("embeddings.position_embedding")?)?;
        let x = ops::add(&ops::embedding(&rows, &table)?, &places)?;
        let mut x = self.encoder.norm(&x, "pre_layrnorm")?;
        let seen = |image: usize| image * tokens..(image + 1) * tokens;
        let blocks: Arc<[Block]> = (0..n).map(|image| Block { queries: seen(image), keys: seen(image) }).collect();
        for layer in 0..self.config.blocks.n_layers {
            x = self.encoder.block(&x, layer, |q, k, v, heads| ops::block_attention(q, k, v, heads, &blocks))?;
        }
        let classes: Vec<u32> = (0..n).map(|image| (image * tokens) as u32).collect();
        let pooled = self.encoder.norm(&ops::embedding(&classes, &x)?, "post_layernorm")?;
        self.encoder.linear(&pooled, "visual_projection")
    }
}
