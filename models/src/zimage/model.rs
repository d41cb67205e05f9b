//! The public transformer.

use std::collections::BTreeMap;

use candle_core::Tensor;
use engine::EngineError;
use engine::lora::LoraConfig;
use engine::ops::{self, TimestepEmbedding, WeightLayout};

use super::PATCH;
use super::blocks::StreamBlock;
use super::config::{CAPTION_FILLER, PATCH_FILLER, Stack, TIME_CHANNELS, ZImageConfig};
use super::rows::{Rows, Stream};
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass, Weights};
use crate::tensors;

/// Epsilon of the last norm, a constant in diffusers.
const LAST_EPSILON: f64 = 1e-6;

/// A denoiser: diffusers' `ZImageTransformer2DModel` as its pipeline uses it.
///
/// The network itself counts time from noise (0) to image (1) and predicts image minus noise; here, as for all networks
/// of flow matching, times are the scheduler's, from 0 (image) to 1000, and the prediction is noise minus image.
///
/// # Laws
/// The prediction for an image does not depend on the other images of its batch, to rounding.
#[derive(Debug)]
pub struct ZImageTransformer {
    /// The model's config.
    pub config: ZImageConfig,
    pub(crate) weights: Weights,
}

impl ZImageTransformer {
    /// A frozen model: a reference, a sampler.
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: ZImageConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(ZImageConfig::CLASS, &config.tensor_shapes(), &tensors)?;
        Ok(Self { config, weights: Weights::frozen(tensors)? })
    }

    /// A trainable model: all weights, or adapters on a frozen base, initialised from `seed`.
    ///
    /// # Errors
    /// As [`ZImageTransformer::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: ZImageConfig,
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
    ) -> Result<Self, ModelError> {
        tensors::check(ZImageConfig::CLASS, &config.tensor_shapes(), &tensors)?;
        let weights = Weights::trainable(tensors, lora, &config.adaptable_layers(), &[])?;
        Ok(Self { config, weights })
    }

    /// The prediction, with one graph that reaches all trainable tensors.
    ///
    /// # Shapes
    /// `[N*H*W, in_channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, images of an unsupported size, captions that are too long.
    pub fn forward(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Training)
    }

    /// The prediction without a graph.
    ///
    /// # Shapes
    /// As in [`ZImageTransformer::forward`].
    ///
    /// # Errors
    /// As in [`ZImageTransformer::forward`].
    pub fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Scoring)
    }

    fn predict(&self, batch: &ImageBatch, pass: Pass) -> Result<Tensor, ModelError> {
        let (rows, layers) = (Rows::of(&self.config, batch)?, self.layers(pass));
        let [patches, caption, time] = self.enter(batch, &rows, layers)?;
        let patches = self.through(Stack::Patches, patches, &time, &rows.of_patches, layers)?;
        let caption = self.through(Stack::Caption, caption, &time, &rows.of_captions, layers)?;
        let joint = joined(&patches, &caption, &rows)?;
        let joint = self.through(Stack::Joint, joint, &time, &rows.joint, layers)?;
        Ok(self.leave(&joint, &time, &rows, layers)?)
    }

    fn through(
        &self,
        stack: Stack,
        mut x: Tensor,
        time: &Tensor,
        stream: &Stream,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        for layer in 0..stack.n_layers(&self.config) {
            x = StreamBlock { config: &self.config, stream, layers, stack, layer }.run(&x, time)?;
        }
        Ok(x)
    }

    pub(super) fn layers(&self, pass: Pass) -> Layers<'_> {
        Layers { weights: &self.weights, pass, layout: WeightLayout::OutIn }
    }

    /// The streams of patches and captions, and each image's embedded time.
    pub(super) fn enter(
        &self,
        batch: &ImageBatch,
        rows: &Rows,
        layers: Layers<'_>,
    ) -> Result<[Tensor; 3], EngineError> {
        let (grid, channels) = (rows.patches, self.config.in_channels);
        let x = batch.x.reshape((grid.images * grid.height, PATCH, grid.width, PATCH, channels))?;
        let x = x.permute((0, 2, 1, 3, 4))?.contiguous()?.reshape((grid.rows(), PATCH * PATCH * channels))?;
        let patches = layers.linear(&x, "all_x_embedder.2-1")?;
        let none = || EngineError::MissingTensor { name: "the captions of the batch".to_owned() };
        let contexts = &batch.contexts.as_ref().ok_or_else(none)?.rows;
        let caption = layers.rms_norm(contexts, "cap_embedder.0", self.config.norm_epsilon)?;
        let caption = layers.linear(&caption, "cap_embedder.1")?;
        let filled = |x: Tensor, filler: &str, stream: &Stream| -> Result<Tensor, EngineError> {
            Ok(ops::embedding(&stream.sources, &Tensor::cat(&[x, layers.tensor(filler)?], 0)?)?)
        };
        Ok([
            filled(patches, PATCH_FILLER, &rows.of_patches)?,
            filled(caption, CAPTION_FILLER, &rows.of_captions)?,
            self.embedded_time(batch, layers)?,
        ])
    }

    fn embedded_time(&self, batch: &ImageBatch, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        let times: Vec<f64> = batch.times.iter().map(|time| (1000. - time) / 1000. * self.config.time_scale).collect();
        let waves = TimestepEmbedding { channels: TIME_CHANNELS, flip_sin_to_cos: true, downscale_freq_shift: 0. };
        let waves = waves.embed(&times, batch.x.dtype(), batch.x.device())?;
        layers.linear(&ops::silu(&layers.linear(&waves, "t_embedder.mlp.0")?)?, "t_embedder.mlp.2")
    }

    /// The prediction from the joined stream.
    pub(super) fn leave(
        &self,
        joint: &Tensor,
        time: &Tensor,
        rows: &Rows,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        let (grid, channels) = (rows.patches, self.config.in_channels);
        let x = ops::embedding(&rows.predicted, joint)?;
        let scale = layers.linear(&ops::silu(time)?, "all_final_layer.2-1.adaLN_modulation.1")?;
        let ends = (1..=grid.images).map(|image| image * grid.pixels()).collect();
        let x = ops::adaptive_layer_norm(&x, &scale, &scale.zeros_like()?, &ends, LAST_EPSILON)?;
        let x = layers.linear(&x, "all_final_layer.2-1.linear")?.neg()?;
        let x = x.reshape((grid.images * grid.height, grid.width, PATCH, PATCH, channels))?;
        Ok(x.permute((0, 2, 1, 3, 4))?.contiguous()?.reshape((grid.rows() * PATCH * PATCH, channels))?)
    }
}

/// The joined stream of refined patches and captions.
pub(super) fn joined(patches: &Tensor, caption: &Tensor, rows: &Rows) -> Result<Tensor, EngineError> {
    Ok(ops::embedding(&rows.joint.sources, &Tensor::cat(&[patches, caption], 0)?)?)
}
