//! The transformer around its blocks: embeddings before them, the last layer behind them.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Convolution, Padding, TimestepEmbedding};
use engine::transfer::from_host;

use super::blocks::{EPSILON, PatchBlock};
use super::config::{CLASSES, DitConditioning, DitConfig, WAVES};
use super::rows::Rows;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::modulation::{Rows as Stream, norm, parts};
use crate::transformer::{Family, Forward, Transformer, missing};

/// A denoiser: diffusers' `PixArtTransformer2DModel` or `DiTTransformer2DModel`.
pub type DitTransformer = Transformer<DitConfig>;

/// The tensors between blocks. DiT's blocks make their modulations themselves, so only patches are carried.
const PATCHES: usize = 0;
/// PixArt's shared modulation, `[images, 6 * width]`.
const MODULATION: usize = 1;
/// PixArt's embedding of the time, and sizes, `[images, width]`.
const TIME: usize = 2;
/// The rows of captions as attention reads them.
const CAPTIONS: usize = 3;

impl Family for DitConfig {
    type Rows = Rows;

    fn rows(&self, batch: &ImageBatch) -> Result<Rows, ModelError> {
        Rows::of(self, batch)
    }

    fn n_steps(&self) -> usize {
        self.n_layers
    }

    fn enter(forward: &Forward<'_, Self>) -> Result<Vec<Tensor>, EngineError> {
        let patches = forward.patches()?;
        let (is_projected, has_sizes) = match forward.config.told {
            DitConditioning::Captions { is_projected, has_sizes, .. } => (is_projected, has_sizes),
            DitConditioning::Classes { .. } => return Ok(vec![patches]),
        };
        let mut time = forward.embed(&forward.batch.times, 0., "adaln_single.emb.timestep_embedder")?;
        if has_sizes {
            time = ops::add(&time, &forward.sizes()?)?;
        }
        let modulation = forward.layers.linear(&ops::silu(&time)?, "adaln_single.linear")?;
        let mut captions = forward.captions()?.clone();
        if is_projected {
            let inner = ops::gelu_tanh(&forward.layers.linear(&captions, "caption_projection.linear_1")?)?;
            captions = forward.layers.linear(&inner, "caption_projection.linear_2")?;
        }
        Ok(vec![patches, modulation, time, captions])
    }

    fn step(forward: &Forward<'_, Self>, index: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let Forward { config, rows, layers, .. } = *forward;
        let block = PatchBlock { config, rows, layers, layer: index };
        let modulation = match config.told {
            DitConditioning::Captions { .. } => {
                forward.with_table(&carried[MODULATION], &block.name("scale_shift_table"))?
            }
            DitConditioning::Classes { .. } => {
                layers.linear(&forward.time_and_class(index)?, &block.name("norm1.linear"))?
            }
        };
        let patches = block.run(&carried[PATCHES], carried.get(CAPTIONS), &parts(&modulation, 6)?)?;
        Ok([patches].into_iter().chain(carried[1..].iter().cloned()).collect())
    }

    /// A variance that comes with the prediction is dropped.
    fn leave(forward: &Forward<'_, Self>, carried: &[Tensor]) -> Result<Tensor, EngineError> {
        let Forward { config, rows, layers, .. } = *forward;
        let (modulation, last) = match config.told {
            DitConditioning::Captions { .. } => {
                let both = Tensor::cat(&[&carried[TIME], &carried[TIME]], 1)?;
                (forward.with_table(&both, "scale_shift_table")?, "proj_out")
            }
            DitConditioning::Classes { .. } => {
                (layers.linear(&forward.time_and_class(0)?, "proj_out_1")?, "proj_out_2")
            }
        };
        let modulation = parts(&modulation, 2)?;
        let x = norm(
            Stream { x: &carried[PATCHES], ends: &rows.ends, epsilon: EPSILON },
            (&modulation[1], &modulation[0]),
        )?;
        let x = layers.linear(&x, last)?;
        let (grid, side, channels) = (rows.patches, config.patch, config.predicted());
        let x = x.reshape((grid.images * grid.height, grid.width, side, side, config.out_channels))?;
        let x = x.narrow(4, 0, channels)?.permute((0, 2, 1, 3, 4))?.contiguous()?;
        Ok(x.reshape((grid.rows() * side * side, channels))?)
    }
}

impl Forward<'_, DitConfig> {
    /// The rows of patches with their positions.
    fn patches(&self) -> Result<Tensor, EngineError> {
        let (grid, width) = (self.rows.patches, self.config.width());
        let convolution = Convolution { stride: self.config.patch, padding: Padding::default() };
        let patches = self.layers.convolution(&self.batch.x, "pos_embed.proj", self.batch.grid, convolution)?;
        let positions = from_host(self.rows.positions.clone(), (grid.pixels(), width), patches.device())?;
        let by_image = patches.reshape((grid.images, grid.pixels(), width))?;
        Ok(by_image.broadcast_add(&positions.to_dtype(patches.dtype())?)?.reshape((grid.rows(), width))?)
    }

    /// Two layers over the sines and cosines of numbers.
    fn embed(&self, numbers: &[f64], frequency_shift: f64, name: &str) -> Result<Tensor, EngineError> {
        let waves = TimestepEmbedding { channels: WAVES, flip_sin_to_cos: true, downscale_freq_shift: frequency_shift };
        let waves = waves.embed(numbers, self.batch.x.dtype(), self.batch.x.device())?;
        self.layers.embedder(&waves, name)
    }

    /// The embeddings of each image's height, width and their ratio, side by side.
    fn sizes(&self) -> Result<Tensor, EngineError> {
        let sizes = self.batch.time_ids.as_ref().ok_or_else(|| missing("sizes"))?;
        let sides: Vec<[f64; 2]> = sizes.iter().map(|size| [size[4], size[5]].map(f64::from)).collect();
        let ratios: Vec<f64> = sides.iter().map(|[height, width]| height / width).collect();
        let resolution = self.embed(&sides.concat(), 0., "adaln_single.emb.resolution_embedder")?;
        let resolution = resolution.reshape((sizes.len(), 2 * (self.config.width() / 3)))?;
        let ratio = self.embed(&ratios, 0., "adaln_single.emb.aspect_ratio_embedder")?;
        Ok(Tensor::cat(&[resolution, ratio], 1)?)
    }

    /// A block's own embedding of each image's time and class, activated as its modulation reads it.
    fn time_and_class(&self, layer: usize) -> Result<Tensor, EngineError> {
        let name = |part: &str| format!("transformer_blocks.{layer}.{part}");
        let time = self.embed(&self.batch.times, 1., &name("norm1.emb.timestep_embedder"))?;
        let classes = self.batch.classes.as_ref().ok_or_else(|| missing("classes"))?;
        let class = ops::embedding(classes, &self.layers.tensor(&format!("{}.weight", name(CLASSES)))?)?;
        Ok(ops::silu(&ops::add(&time, &class)?)?)
    }

    /// Adds a table of vectors to those of each image.
    fn with_table(&self, vectors: &Tensor, name: &str) -> Result<Tensor, EngineError> {
        let table = self.layers.tensor(name)?.reshape((1, ()))?;
        Ok(vectors.broadcast_add(&table)?)
    }
}
