//! The public transformer.

use std::collections::BTreeMap;

use candle_core::Tensor;
use engine::EngineError;
use engine::lora::LoraConfig;
use engine::ops::{self, Convolution, Padding, TimestepEmbedding, WeightLayout};

use super::blocks::{JointBlock, norm, parts};
use super::config::{POSITIONS, Sd3Config, TIME_CHANNELS};
use super::streams::Streams;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass, Weights};
use crate::tensors;

/// A denoiser: diffusers' `SD3Transformer2DModel`.
///
/// # Laws
/// The prediction for an image does not depend on the other images of its batch, to rounding.
#[derive(Debug)]
pub struct Sd3Transformer {
    /// The model's config.
    pub config: Sd3Config,
    pub(crate) weights: Weights,
}

/// The streams of patches and captions, and the activated embedding of time and pooled caption.
pub(super) type Entered = (Tensor, Tensor, Tensor);

impl Sd3Transformer {
    /// A frozen model: a reference, a sampler.
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: Sd3Config, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(Sd3Config::CLASS, &config.tensor_shapes(), &tensors)?;
        Ok(Self { config, weights: Weights::frozen(tensors)? })
    }

    /// A trainable model: all weights but the table of positions, or adapters on a frozen base, initialised from `seed`.
    ///
    /// # Errors
    /// As [`Sd3Transformer::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: Sd3Config,
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
    ) -> Result<Self, ModelError> {
        tensors::check(Sd3Config::CLASS, &config.tensor_shapes(), &tensors)?;
        let weights = Weights::trainable(tensors, lora, &config.adaptable_layers(), &[POSITIONS])?;
        Ok(Self { config, weights })
    }

    /// The prediction, with one graph that reaches all trainable tensors.
    ///
    /// # Shapes
    /// `[N*H*W, out_channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, or images of an unsupported size.
    pub fn forward(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Training)
    }

    /// The prediction without a graph.
    ///
    /// # Shapes
    /// As in [`Sd3Transformer::forward`].
    ///
    /// # Errors
    /// As in [`Sd3Transformer::forward`].
    pub fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Scoring)
    }

    fn predict(&self, batch: &ImageBatch, pass: Pass) -> Result<Tensor, ModelError> {
        let (streams, layers) = (Streams::of(&self.config, batch)?, self.layers(pass));
        let (mut patches, caption, time) = self.enter(batch, &streams, layers)?;
        let mut caption = Some(caption);
        for layer in 0..self.config.n_layers {
            let Some(told) = caption else { break };
            let block = JointBlock { config: &self.config, streams: &streams, layers, layer };
            (patches, caption) = block.run(&patches, &told, &time)?;
        }
        Ok(self.leave(&patches, &time, &streams, layers)?)
    }

    pub(super) fn layers(&self, pass: Pass) -> Layers<'_> {
        Layers { weights: &self.weights, pass, layout: WeightLayout::OutIn }
    }

    /// The embeddings before the blocks.
    pub(super) fn enter(
        &self,
        batch: &ImageBatch,
        streams: &Streams,
        layers: Layers<'_>,
    ) -> Result<Entered, EngineError> {
        let (n, width) = (streams.patches.images, self.config.width());
        let convolution = Convolution { stride: self.config.patch, padding: Padding::default() };
        let patches = layers.convolution(&batch.x, "pos_embed.proj", batch.grid, convolution)?;
        let table = layers.tensor(POSITIONS)?.detach();
        let positions = ops::embedding(&streams.positions, &table.reshape(((), width))?)?;
        let by_image = patches.reshape((n, streams.patches.pixels(), width))?;
        let patches = by_image.broadcast_add(&positions)?.reshape((streams.patches.rows(), width))?;
        let none = || EngineError::MissingTensor { name: "the captions of the batch".to_owned() };
        let contexts = batch.contexts.as_ref().ok_or_else(none)?;
        let caption = layers.linear(&contexts.rows, "context_embedder")?;
        Ok((patches, ops::embedding(&streams.captions, &caption)?, embedded_time(batch, layers)?))
    }

    /// The prediction from the last patches.
    pub(super) fn leave(
        &self,
        patches: &Tensor,
        time: &Tensor,
        streams: &Streams,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        // This norm has its scale before its shift.
        let modulation = parts(&layers.linear(time, "norm_out.linear")?, 2)?;
        let x = norm(patches, &modulation[0], &modulation[1], &streams.patch_ends)?;
        let x = layers.linear(&x, "proj_out")?;
        let (grid, side, channels) = (streams.patches, self.config.patch, self.config.out_channels);
        let x = x.reshape((grid.images * grid.height, grid.width, side, side, channels))?;
        Ok(x.permute((0, 2, 1, 3, 4))?.contiguous()?.reshape((grid.rows() * side * side, channels))?)
    }
}

/// Each image's embedding of time and pooled caption, activated as all modulations read it.
fn embedded_time(batch: &ImageBatch, layers: Layers<'_>) -> Result<Tensor, EngineError> {
    let mlp = |x: &Tensor, name: &str| {
        let name = format!("time_text_embed.{name}");
        let inner = ops::silu(&layers.linear(x, &format!("{name}.linear_1"))?)?;
        layers.linear(&inner, &format!("{name}.linear_2"))
    };
    let waves = TimestepEmbedding { channels: TIME_CHANNELS, flip_sin_to_cos: true, downscale_freq_shift: 0. };
    let waves = waves.embed(&batch.times, batch.x.dtype(), batch.x.device())?;
    let none = || EngineError::MissingTensor { name: "the pooled captions of the batch".to_owned() };
    let text = mlp(batch.pooled.as_ref().ok_or_else(none)?, "text_embedder")?;
    Ok(ops::silu(&ops::add(&mlp(&waves, "timestep_embedder")?, &text)?)?)
}
