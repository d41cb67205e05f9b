//! The public UNet.

use std::collections::BTreeMap;

use candle_core::Tensor;
use engine::lora::LoraConfig;
use engine::ops::{self, Convolution, Grid, NormActivation, TimestepEmbedding, WeightLayout};
use engine::{EngineError, Parameters};

use super::config::UNetConfig;
use super::plan::{Attention, Skip, UNetBlock, UNetSegment, grids, segments};
use crate::ModelError;
use crate::image_batch::{Contexts, ImageBatch};
use crate::network::{GroupNorm, Layers, Pass, Weights};
use crate::tensors;

/// A denoiser: diffusers' `UNet2DModel` or `UNet2DConditionModel`.
///
/// # Laws
/// The prediction for an image does not depend on the other images of its batch, to rounding.
#[derive(Debug)]
pub struct UNet {
    /// The model's config.
    pub config: UNetConfig,
    pub(crate) weights: Weights,
    pub(super) segments: Vec<UNetSegment>,
}

/// The first layer's output, and the timestep embedding after its activation.
pub(super) type Entered = (Tensor, Tensor);

impl UNet {
    /// A frozen model: a reference, a sampler.
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: UNetConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(config.class.name(), &config.tensor_shapes(), &tensors)?;
        Ok(Self::new(config, Weights::frozen(tensors)?))
    }

    /// A trainable model: all weights, or adapters on a frozen base, initialised from `seed`.
    ///
    /// # Errors
    /// As [`UNet::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: UNetConfig,
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
    ) -> Result<Self, ModelError> {
        tensors::check(config.class.name(), &config.tensor_shapes(), &tensors)?;
        let weights = Weights::trainable(tensors, lora, &config.adaptable_layers(), &[])?;
        Ok(Self::new(config, weights))
    }

    pub(crate) fn new(config: UNetConfig, weights: Weights) -> Self {
        let segments = segments(&config);
        Self { config, weights, segments }
    }

    /// A frozen copy, adapters included.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn frozen_copy(&self) -> Result<Self, ModelError> {
        Ok(Self::new(self.config.clone(), self.weights.frozen_copy()?))
    }

    /// The frozen base without its adapters. The two share their tensors, so it takes no extra memory.
    ///
    /// # Errors
    /// A model without adapters.
    pub fn base(&self) -> Result<Self, ModelError> {
        Ok(Self::new(self.config.clone(), self.weights.base()?))
    }

    /// The model's tensors by name.
    pub fn parameters(&self) -> &Parameters {
        &self.weights.parameters
    }

    /// The config of its adapters, if it has any.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.weights.lora.as_ref()
    }

    /// The model's own tensors, without adapters.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn base_tensors(&self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        self.weights.base_tensors()
    }

    /// The adapters, `P.lora_A.weight` and `P.lora_B.weight` for a layer `P`.
    pub fn adapter_tensors(&self) -> BTreeMap<String, Tensor> {
        self.weights.adapter_tensors()
    }

    /// The merged tensors: the plain model with the same output as this one with its adapters.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn merged_tensors(&self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        self.weights.merged_tensors(WeightLayout::OutIn)
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
    /// As in [`UNet::forward`].
    ///
    /// # Errors
    /// As in [`UNet::forward`].
    pub fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        self.predict(batch, Pass::Scoring)
    }

    fn predict(&self, batch: &ImageBatch, pass: Pass) -> Result<Tensor, ModelError> {
        batch.check(self.config.inputs())?;
        let grids = grids(&self.config, &self.segments, batch.grid)?;
        let layers = self.layers(pass);
        let (mut x, time) = self.enter(batch, layers)?;
        let (mut grid, mut over) = (batch.grid, vec![x.clone()]);
        for (segment, &next) in self.segments.iter().zip(&grids) {
            let skip = if segment.skip == Skip::Takes { over.pop() } else { None };
            let step = Step { segment, grid, next, contexts: batch.contexts.as_ref() };
            x = step.run(&x, &time, skip.as_ref(), layers)?;
            grid = next;
            if segment.skip == Skip::Leaves {
                over.push(x.clone());
            }
        }
        Ok(self.leave(&x, batch.grid, layers)?)
    }

    pub(super) fn layers(&self, pass: Pass) -> Layers<'_> {
        Layers { weights: &self.weights, pass, layout: WeightLayout::OutIn }
    }

    /// The layers before the segments.
    pub(super) fn enter(&self, batch: &ImageBatch, layers: Layers<'_>) -> Result<Entered, EngineError> {
        let x = if self.config.center_input { batch.x.affine(2., -1.)? } else { batch.x.clone() };
        let convolution = Convolution::same(self.config.in_kernel);
        let x = layers.convolution(&x, "conv_in", batch.grid, convolution)?;
        Ok((x, self.time(batch, layers)?))
    }

    /// Each image's timestep embedding, with the activation of the residual blocks applied.
    fn time(&self, batch: &ImageBatch, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        let (dtype, device) = (batch.x.dtype(), batch.x.device());
        let waves = |channels: usize, times: &[f64]| {
            let embedding = TimestepEmbedding {
                channels,
                flip_sin_to_cos: self.config.flip_sin_to_cos,
                downscale_freq_shift: self.config.frequency_shift,
            };
            embedding.embed(times, dtype, device)
        };
        let mut time = layers.embedder(&waves(self.config.levels[0].width, &batch.times)?, "time_embedding")?;
        if let (Some(text_time), Some(pooled), Some(sizes)) = (self.config.text_time, &batch.pooled, &batch.time_ids) {
            let sizes: Vec<f64> = sizes.iter().flatten().map(|&size| f64::from(size)).collect();
            let waves = waves(text_time.channels, &sizes)?.reshape((batch.grid.images, 6 * text_time.channels))?;
            time = ops::add(&time, &layers.embedder(&ops::concat(pooled, &waves)?, "add_embedding")?)?;
        }
        Ok(ops::silu(&time)?)
    }

    /// The layers after the segments.
    pub(super) fn leave(&self, x: &Tensor, grid: Grid, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        let norm = GroupNorm { n_groups: self.config.n_groups, epsilon: self.config.norm_epsilon };
        layers.with_group_norm((x, "conv_norm_out", norm), grid, NormActivation::Silu, |x| {
            layers.convolution(x, "conv_out", grid, Convolution::same(self.config.out_kernel))
        })
    }
}

/// A segment with its grids in a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    pub(super) segment: &'a UNetSegment,
    /// The input grid.
    pub(super) grid: Grid,
    /// The output grid.
    pub(super) next: Grid,
    pub(super) contexts: Option<&'a Contexts>,
}

impl Step<'_> {
    pub(super) fn run(
        &self,
        x: &Tensor,
        time: &Tensor,
        skip: Option<&Tensor>,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        let (resnet, attention) = match &self.segment.part {
            UNetBlock::Down(down) => return down.run(x, self.grid, layers),
            UNetBlock::Up(up) => return up.run(x, self.grid, self.next, layers),
            UNetBlock::Layer(resnet, attention) => (resnet, attention),
        };
        let x = match skip {
            None => resnet.run(x, time, self.grid, layers)?,
            Some(skip) => ops::remade(
                &[x, skip],
                |x| ops::concat(&x[0], &x[1]),
                |both| resnet.run(both, time, self.grid, layers),
            )?,
        };
        match (attention, self.contexts) {
            (Some(Attention::Pixels(attention)), _) => attention.run(&x, self.next, layers),
            (Some(Attention::Caption(transformer)), Some(contexts)) => transformer.run(&x, contexts, self.next, layers),
            // The batch was checked to have captions if there is cross-attention.
            (Some(Attention::Caption(_)), None) | (None, _) => Ok(x),
        }
    }
}
