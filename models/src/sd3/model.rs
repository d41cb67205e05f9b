//! The transformer around its blocks: embeddings before them, the last layer behind them.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Convolution, Padding, TimestepEmbedding};

use super::blocks::{JointBlock, rows};
use super::config::{POSITIONS, Sd3Config, TIME_CHANNELS};
use super::streams::Streams;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::modulation::{norm, parts};
use crate::transformer::{Family, Forward, Transformer, missing};

/// A denoiser: diffusers' `SD3Transformer2DModel`.
pub type Sd3Transformer = Transformer<Sd3Config>;

/// Indices of the carried tensors: patches, the activated embedding of time and pooled caption, and the caption, which the
/// last block ends.
const PATCHES: usize = 0;
const TIME: usize = 1;
const CAPTION: usize = 2;

impl Family for Sd3Config {
    type Rows = Streams;

    const FIXED: &'static [&'static str] = &[POSITIONS];

    fn rows(&self, batch: &ImageBatch) -> Result<Streams, ModelError> {
        Streams::of(self, batch)
    }

    fn n_steps(&self) -> usize {
        self.n_layers
    }

    fn enter(forward: &Forward<'_, Self>) -> Result<Vec<Tensor>, EngineError> {
        let (layers, streams, batch) = (forward.layers, forward.rows, forward.batch);
        let (n, width) = (streams.patches.images, forward.config.width());
        let convolution = Convolution { stride: forward.config.patch, padding: Padding::default() };
        let patches = layers.convolution(&batch.x, "pos_embed.proj", batch.grid, convolution)?;
        let table = layers.tensor(POSITIONS)?.detach();
        let positions = ops::embedding(&streams.positions, &table.reshape(((), width))?)?;
        let by_image = patches.reshape((n, streams.patches.pixels(), width))?;
        let patches = by_image.broadcast_add(&positions)?.reshape((streams.patches.rows(), width))?;
        let caption = layers.linear(forward.captions()?, "context_embedder")?;
        Ok(vec![patches, embedded_time(forward)?, ops::embedding(&streams.captions, &caption)?])
    }

    fn step(forward: &Forward<'_, Self>, index: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let Forward { config, rows: streams, layers, .. } = *forward;
        let block = JointBlock { config, streams, layers, layer: index };
        let (patches, caption) = block.run(&carried[PATCHES], &carried[CAPTION], &carried[TIME])?;
        Ok([patches, carried[TIME].clone()].into_iter().chain(caption).collect())
    }

    fn leave(forward: &Forward<'_, Self>, carried: &[Tensor]) -> Result<Tensor, EngineError> {
        let (layers, streams) = (forward.layers, forward.rows);
        // This norm has its scale before its shift.
        let modulation = parts(&layers.linear(&carried[TIME], "norm_out.linear")?, 2)?;
        let x = norm(rows(&carried[PATCHES], &streams.patch_ends), (&modulation[0], &modulation[1]))?;
        let x = layers.linear(&x, "proj_out")?;
        let (grid, side, channels) = (streams.patches, forward.config.patch, forward.config.out_channels);
        let x = x.reshape((grid.images * grid.height, grid.width, side, side, channels))?;
        Ok(x.permute((0, 2, 1, 3, 4))?.contiguous()?.reshape((grid.rows() * side * side, channels))?)
    }
}

/// Each image's embedding of time and pooled caption, activated as all modulations read it.
fn embedded_time(forward: &Forward<'_, Sd3Config>) -> Result<Tensor, EngineError> {
    let (layers, batch) = (forward.layers, forward.batch);
    let waves = TimestepEmbedding { channels: TIME_CHANNELS, flip_sin_to_cos: true, downscale_freq_shift: 0. };
    let waves = waves.embed(&batch.times, batch.x.dtype(), batch.x.device())?;
    let pooled = batch.pooled.as_ref().ok_or_else(|| missing("pooled captions"))?;
    let text = layers.embedder(pooled, "time_text_embed.text_embedder")?;
    let time = layers.embedder(&waves, "time_text_embed.timestep_embedder")?;
    Ok(ops::silu(&ops::add(&time, &text)?)?)
}
