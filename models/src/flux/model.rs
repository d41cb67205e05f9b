//! The public transformer.

use std::collections::BTreeMap;

use candle_core::Tensor;
use engine::EngineError;
use engine::lora::LoraConfig;
use engine::ops::{self, TimestepEmbedding, WeightLayout};

use super::blocks::{FluxBlock, norm, parts};
use super::config::{FluxConfig, TIME_CHANNELS};
use super::places::Places;
use crate::ModelError;
use crate::image_batch::ImageBatch;
use crate::network::{Layers, Pass, Weights};
use crate::tensors;

/// The factor of the guidance before its embedding, a constant in diffusers.
const GUIDANCE_UNITS: f64 = 1000.;

/// A denoiser: diffusers' `FluxTransformer2DModel`.
///
/// # Laws
/// The prediction for an image does not depend on the other images of its batch, to rounding.
#[derive(Debug)]
pub struct FluxTransformer {
    /// The model's config.
    pub config: FluxConfig,
    pub(crate) weights: Weights,
}

/// The streams of patches and captions, and the activated embedding of time, guidance and pooled caption.
pub(super) type Entered = (Tensor, Tensor, Tensor);

impl FluxTransformer {
    /// A frozen model: a reference, a sampler.
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: FluxConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(FluxConfig::CLASS, &config.tensor_shapes(), &tensors)?;
        Ok(Self { config, weights: Weights::frozen(tensors)? })
    }

    /// A trainable model: all weights, or adapters on a frozen base, initialised from `seed`.
    ///
    /// # Errors
    /// As [`FluxTransformer::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: FluxConfig,
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
    ) -> Result<Self, ModelError> {
        tensors::check(FluxConfig::CLASS, &config.tensor_shapes(), &tensors)?;
        let weights = Weights::trainable(tensors, lora, &config.adaptable_layers(), &[])?;
        Ok(Self { config, weights })
    }

    /// The prediction, with one graph that reaches all trainable tensors.
    ///
    /// # Shapes
    /// `[N*H*W, out_channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, or images of an odd side.
    pub fn forward(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Training)
    }

    /// The prediction without a graph.
    ///
    /// # Shapes
    /// As in [`FluxTransformer::forward`].
    ///
    /// # Errors
    /// As in [`FluxTransformer::forward`].
    pub fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Scoring)
    }

    fn predict(&self, batch: &ImageBatch, pass: Pass) -> Result<Tensor, ModelError> {
        let (places, layers) = (Places::of(&self.config, batch)?, self.layers(pass));
        let block = |layer| FluxBlock { config: &self.config, places: &places, layers, layer };
        let (mut patches, mut caption, time) = self.enter(batch, &places, layers)?;
        for layer in 0..self.config.n_layers {
            (patches, caption) = block(layer).double(&patches, &caption, &time)?;
        }
        let mut x = block(0).joint(&patches, &caption)?;
        for layer in 0..self.config.n_single_layers {
            x = block(layer).single(&x, &time)?;
        }
        Ok(self.leave(&x, &time, &places, layers)?)
    }

    pub(super) fn layers(&self, pass: Pass) -> Layers<'_> {
        Layers { weights: &self.weights, pass, layout: WeightLayout::OutIn }
    }

    /// The embeddings before the blocks.
    pub(super) fn enter(
        &self,
        batch: &ImageBatch,
        places: &Places,
        layers: Layers<'_>,
    ) -> Result<Entered, EngineError> {
        let patches = layers.linear(&places.pack(&batch.x, self.config.in_channels)?, "x_embedder")?;
        let none = || EngineError::MissingTensor { name: "the captions of the batch".to_owned() };
        let contexts = batch.contexts.as_ref().ok_or_else(none)?;
        let caption = layers.linear(&contexts.rows, "context_embedder")?;
        Ok((patches, ops::embedding(&places.captions, &caption)?, self.embedded_numbers(batch, layers)?))
    }

    /// Each image's embedding of time, guidance and pooled caption, activated as all modulations read it.
    fn embedded_numbers(&self, batch: &ImageBatch, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        let mlp = |x: &Tensor, name: &str| {
            let name = format!("time_text_embed.{name}");
            let inner = ops::silu(&layers.linear(x, &format!("{name}.linear_1"))?)?;
            layers.linear(&inner, &format!("{name}.linear_2"))
        };
        let waves = TimestepEmbedding { channels: TIME_CHANNELS, flip_sin_to_cos: true, downscale_freq_shift: 0. };
        let embed = |numbers: &[f64]| waves.embed(numbers, batch.x.dtype(), batch.x.device());
        let none = || EngineError::MissingTensor { name: "the pooled captions of the batch".to_owned() };
        let text = mlp(batch.pooled.as_ref().ok_or_else(none)?, "text_embedder")?;
        let mut sum = mlp(&embed(&batch.times)?, "timestep_embedder")?;
        if let Some(guidance) = self.config.guidance {
            let guidance = embed(&vec![guidance * GUIDANCE_UNITS; batch.times.len()])?;
            sum = ops::add(&sum, &mlp(&guidance, "guidance_embedder")?)?;
        }
        Ok(ops::silu(&ops::add(&sum, &text)?)?)
    }

    /// The prediction from the last joint rows.
    pub(super) fn leave(
        &self,
        x: &Tensor,
        time: &Tensor,
        places: &Places,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        let patches = ops::embedding(&places.patches_of_joint, x)?;
        // This norm has its scale before its shift.
        let modulation = parts(&layers.linear(time, "norm_out.linear")?, 2)?;
        let x = norm(&patches, &modulation[0], &modulation[1], &places.patch_ends)?;
        places.unpack(&layers.linear(&x, "proj_out")?, self.config.out_channels)
    }
}
