//! The transformer around its blocks: embeddings before them, the last layer behind them.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, TimestepEmbedding};

use super::blocks::{FluxBlock, rows};
use super::config::{FluxConfig, TIME_CHANNELS};
use super::places::Places;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::modulation::{norm, parts};
use crate::transformer::{Family, Forward, Transformer, missing};

/// The factor of the guidance before its embedding, a constant in diffusers.
const GUIDANCE_UNITS: f64 = 1000.;

/// A denoiser: diffusers' `FluxTransformer2DModel`.
pub type FluxTransformer = Transformer<FluxConfig>;

/// Indices of the carried tensors: patches, which the first block of one stream joins with the caption; the activated
/// embedding of time, guidance and pooled caption; and the caption until then.
const ROWS: usize = 0;
const TIME: usize = 1;
const CAPTION: usize = 2;

impl Family for FluxConfig {
    type Rows = Places;

    fn rows(&self, batch: &ImageBatch) -> Result<Places, ModelError> {
        Places::of(self, batch)
    }

    fn n_steps(&self) -> usize {
        self.n_layers + self.n_single_layers
    }

    fn enter(forward: &Forward<'_, Self>) -> Result<Vec<Tensor>, EngineError> {
        let (layers, places) = (forward.layers, forward.rows);
        let patches = layers.linear(&places.pack(&forward.batch.x, forward.config.in_channels)?, "x_embedder")?;
        let caption = layers.linear(forward.captions()?, "context_embedder")?;
        Ok(vec![patches, embedded_numbers(forward)?, ops::embedding(&places.captions, &caption)?])
    }

    fn step(forward: &Forward<'_, Self>, index: usize, carried: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let Forward { config, rows: places, layers, .. } = *forward;
        let (rows, time) = (&carried[ROWS], &carried[TIME]);
        if index < config.n_layers {
            let block = FluxBlock { config, places, layers, layer: index };
            let (patches, caption) = block.double(rows, &carried[CAPTION], time)?;
            return Ok(vec![patches, time.clone(), caption]);
        }
        let block = FluxBlock { config, places, layers, layer: index - config.n_layers };
        let rows = match carried.get(CAPTION) {
            Some(caption) => block.single(&block.joint(rows, caption)?, time)?,
            None => block.single(rows, time)?,
        };
        Ok(vec![rows, time.clone()])
    }

    fn leave(forward: &Forward<'_, Self>, carried: &[Tensor]) -> Result<Tensor, EngineError> {
        let Forward { config, rows: places, layers, .. } = *forward;
        // Without a block of one stream nothing has joined them.
        let patches = match carried.get(CAPTION) {
            Some(_) => carried[ROWS].clone(),
            None => ops::embedding(&places.patches_of_joint, &carried[ROWS])?,
        };
        // This norm has its scale before its shift.
        let modulation = parts(&layers.linear(&carried[TIME], "norm_out.linear")?, 2)?;
        let x = norm(rows(&patches, &places.patch_ends), (&modulation[0], &modulation[1]))?;
        places.unpack(&layers.linear(&x, "proj_out")?, config.out_channels)
    }
}

/// Each image's embedding of time, guidance and pooled caption, activated as all modulations read it.
fn embedded_numbers(forward: &Forward<'_, FluxConfig>) -> Result<Tensor, EngineError> {
    let (layers, batch) = (forward.layers, forward.batch);
    let waves = TimestepEmbedding { channels: TIME_CHANNELS, flip_sin_to_cos: true, downscale_freq_shift: 0. };
    let embed = |numbers: &[f64]| waves.embed(numbers, batch.x.dtype(), batch.x.device());
    let pooled = batch.pooled.as_ref().ok_or_else(|| missing("pooled captions"))?;
    let text = layers.embedder(pooled, "time_text_embed.text_embedder")?;
    let mut sum = layers.embedder(&embed(&batch.times)?, "time_text_embed.timestep_embedder")?;
    if let Some(guidance) = forward.config.guidance {
        let guidance = embed(&vec![guidance * GUIDANCE_UNITS; batch.times.len()])?;
        sum = ops::add(&sum, &layers.embedder(&guidance, "time_text_embed.guidance_embedder")?)?;
    }
    Ok(ops::silu(&ops::add(&sum, &text)?)?)
}
