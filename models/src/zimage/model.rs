//! The transformer around its blocks: embeddings before them, the last layer behind them.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, TimestepEmbedding};

use super::PATCH;
use super::blocks::StreamBlock;
use super::config::{CAPTION_FILLER, PATCH_FILLER, Stack, TIME_CHANNELS, ZImageConfig};
use super::rows::{Rows, Stream};
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::transformer::{Family, Forward, Transformer};

/// Epsilon of the last norm, a constant in diffusers.
const LAST_EPSILON: f64 = 1e-6;

/// A denoiser: diffusers' `ZImageTransformer2DModel` as its pipeline uses it.
///
/// The network itself counts time from noise (0) to image (1) and predicts image minus noise; here, as for all networks
/// of flow matching, times are the scheduler's, from 0 (image) to 1000, and the prediction is noise minus image.
pub type ZImageTransformer = Transformer<ZImageConfig>;

/// Indices of the carried tensors: patches, the embedded time, and the caption; the joined stream takes the place of the
/// patches and ends the caption.
const PATCHES: usize = 0;
const TIME: usize = 1;
const CAPTION: usize = 2;

/// What a step does.
enum Step {
    /// It goes through a block of a stack.
    Block(Stack, usize),
    /// It joins the streams.
    Join,
}

impl ZImageConfig {
    /// Blocks of patches, blocks of the caption, the join, joint blocks.
    fn steps(&self) -> impl Iterator<Item = Step> {
        let blocks = |stack: Stack| (0..stack.n_layers(self)).map(move |layer| Step::Block(stack, layer));
        let refined = blocks(Stack::Patches).chain(blocks(Stack::Caption));
        refined.chain([Step::Join]).chain(blocks(Stack::Joint))
    }
}

impl Family for ZImageConfig {
    type Rows = Rows;

    fn rows(&self, batch: &ImageBatch) -> Result<Rows, ModelError> {
        Rows::of(self, batch)
    }

    fn n_steps(&self) -> usize {
        self.steps().count()
    }

    fn enter(forward: &Forward<'_, Self>) -> Result<Vec<Tensor>, EngineError> {
        let Forward { config, rows, layers, batch } = *forward;
        let (grid, channels) = (rows.patches, config.in_channels);
        let x = batch.x.reshape((grid.images * grid.height, PATCH, grid.width, PATCH, channels))?;
        let x = x.permute((0, 2, 1, 3, 4))?.contiguous()?.reshape((grid.rows(), PATCH * PATCH * channels))?;
        let patches = layers.linear(&x, "all_x_embedder.2-1")?;
        let caption = layers.rms_norm(forward.captions()?, "cap_embedder.0", config.norm_epsilon)?;
        let caption = layers.linear(&caption, "cap_embedder.1")?;
        let filled = |x: Tensor, filler: &str, stream: &Stream| -> Result<Tensor, EngineError> {
            Ok(ops::embedding(&stream.sources, &Tensor::cat(&[x, layers.tensor(filler)?], 0)?)?)
        };
        Ok(vec![
            filled(patches, PATCH_FILLER, &rows.of_patches)?,
            embedded_time(forward)?,
            filled(caption, CAPTION_FILLER, &rows.of_captions)?,
        ])
    }

    fn step(forward: &Forward<'_, Self>, index: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let Forward { config, rows, layers, .. } = *forward;
        let (stack, layer) = match config.steps().nth(index) {
            Some(Step::Block(stack, layer)) => (stack, layer),
            Some(Step::Join) | None => {
                let both = Tensor::cat(&[&carried[PATCHES], &carried[CAPTION]], 0)?;
                return Ok(vec![ops::embedding(&rows.joint.sources, &both)?, carried[TIME].clone()]);
            }
        };
        let (place, stream) = match stack {
            Stack::Patches => (PATCHES, &rows.of_patches),
            Stack::Caption => (CAPTION, &rows.of_captions),
            Stack::Joint => (PATCHES, &rows.joint),
        };
        let mut after = carried.to_vec();
        after[place] = StreamBlock { config, stream, layers, stack, layer }.run(&carried[place], &carried[TIME])?;
        Ok(after)
    }

    fn leave(forward: &Forward<'_, Self>, carried: &[Tensor]) -> Result<Tensor, EngineError> {
        let Forward { config, rows, layers, .. } = *forward;
        let (grid, channels) = (rows.patches, config.in_channels);
        let x = ops::embedding(&rows.predicted, &carried[PATCHES])?;
        let scale = layers.linear(&ops::silu(&carried[TIME])?, "all_final_layer.2-1.adaLN_modulation.1")?;
        let ends = (1..=grid.images).map(|image| image * grid.pixels()).collect();
        let x = ops::adaptive_layer_norm(&x, &scale, &scale.zeros_like()?, &ends, LAST_EPSILON)?;
        let x = layers.linear(&x, "all_final_layer.2-1.linear")?.neg()?;
        let x = x.reshape((grid.images * grid.height, grid.width, PATCH, PATCH, channels))?;
        Ok(x.permute((0, 2, 1, 3, 4))?.contiguous()?.reshape((grid.rows() * PATCH * PATCH, channels))?)
    }
}

fn embedded_time(forward: &Forward<'_, ZImageConfig>) -> Result<Tensor, EngineError> {
    let Forward { config, batch, layers, .. } = *forward;
    let times: Vec<f64> = batch.times.iter().map(|time| (1000. - time) / 1000. * config.time_scale).collect();
    let waves = TimestepEmbedding { channels: TIME_CHANNELS, flip_sin_to_cos: true, downscale_freq_shift: 0. };
    let waves = waves.embed(&times, batch.x.dtype(), batch.x.device())?;
    layers.linear(&ops::silu(&layers.linear(&waves, "t_embedder.mlp.0")?)?, "t_embedder.mlp.2")
}
