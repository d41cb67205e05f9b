//! The networks behind a denoiser.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::checkpoint::{Recompute, Tape};
use engine::lora::LoraConfig;

use super::config::DenoiserConfig;
use super::external::{ExternalDenoiser, RecordedPrediction};
use crate::ModelError;
use crate::dit::DitTransformer;
use crate::flux::FluxTransformer;
use crate::image_batch::ImageBatch;
use crate::network::{Network, Weights};
use crate::sd3::Sd3Transformer;
use crate::unet::UNet;
use crate::zimage::ZImageTransformer;

/// A network that denoises, of one of the families that are built.
#[derive(Debug)]
pub enum DenoiserNetwork {
    /// diffusers' `UNet2DModel` or `UNet2DConditionModel`.
    UNet(Arc<UNet>),
    /// diffusers' `SD3Transformer2DModel`.
    Sd3(Arc<Sd3Transformer>),
    /// diffusers' `FluxTransformer2DModel`.
    Flux(Arc<FluxTransformer>),
    /// diffusers' `ZImageTransformer2DModel`.
    ZImage(Arc<ZImageTransformer>),
    /// diffusers' `PixArtTransformer2DModel` or `DiTTransformer2DModel`.
    Dit(Arc<DitTransformer>),
    /// A network that another library computes.
    External(Arc<ExternalDenoiser>),
}

/// A prediction as the output of a tape.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) tape: Tape<'static>,
    /// The passes behind the prediction at which the tape begins, where another library computes it.
    pub(super) external: Option<RecordedPrediction>,
}

impl DenoiserNetwork {
    pub(crate) fn frozen(config: DenoiserConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        Ok(match config {
            DenoiserConfig::UNet(config) => Self::UNet(Arc::new(UNet::frozen(config, tensors)?)),
            DenoiserConfig::Sd3(config) => Self::Sd3(Arc::new(Sd3Transformer::frozen(config, tensors)?)),
            DenoiserConfig::Flux(config) => Self::Flux(Arc::new(FluxTransformer::frozen(config, tensors)?)),
            DenoiserConfig::ZImage(config) => Self::ZImage(Arc::new(ZImageTransformer::frozen(config, tensors)?)),
            DenoiserConfig::Dit(config) => Self::Dit(Arc::new(DitTransformer::frozen(config, tensors)?)),
            DenoiserConfig::External(config) => Self::External(Arc::new(ExternalDenoiser::frozen(config, tensors)?)),
        })
    }

    pub(crate) fn trainable(
        config: DenoiserConfig,
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
    ) -> Result<Self, ModelError> {
        Ok(match config {
            DenoiserConfig::UNet(config) => Self::UNet(Arc::new(UNet::trainable(config, tensors, lora)?)),
            DenoiserConfig::Sd3(config) => Self::Sd3(Arc::new(Sd3Transformer::trainable(config, tensors, lora)?)),
            DenoiserConfig::Flux(config) => Self::Flux(Arc::new(FluxTransformer::trainable(config, tensors, lora)?)),
            DenoiserConfig::ZImage(config) => {
                Self::ZImage(Arc::new(ZImageTransformer::trainable(config, tensors, lora)?))
            }
            DenoiserConfig::Dit(config) => Self::Dit(Arc::new(DitTransformer::trainable(config, tensors, lora)?)),
            DenoiserConfig::External(config) => {
                if lora.is_some() {
                    return Err(not_here("adapters"));
                }
                Self::External(Arc::new(ExternalDenoiser::trainable(config, tensors)?))
            }
        })
    }

    /// The same network with other weights.
    pub(crate) fn with_weights(&self, weights: Weights) -> Self {
        match self {
            Self::UNet(unet) => Self::UNet(Arc::new(UNet::new(unet.config.clone(), weights))),
            Self::Sd3(network) => Self::Sd3(Arc::new(network.with_weights(weights))),
            Self::Flux(network) => Self::Flux(Arc::new(network.with_weights(weights))),
            Self::ZImage(network) => Self::ZImage(Arc::new(network.with_weights(weights))),
            Self::Dit(network) => Self::Dit(Arc::new(network.with_weights(weights))),
            Self::External(network) => Self::External(Arc::new(ExternalDenoiser::new(network.config.clone(), weights))),
        }
    }

    /// The prediction without a graph.
    ///
    /// # Shapes
    /// `[N*H*W, out_channels]`, rows as in the batch.
    ///
    /// # Errors
    /// A batch of the wrong widths, or images of an unsupported size.
    pub fn score(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        match self {
            Self::UNet(unet) => unet.score(batch),
            Self::Sd3(network) => network.score(batch),
            Self::Flux(network) => network.score(batch),
            Self::ZImage(network) => network.score(batch),
            Self::Dit(network) => network.score(batch),
            Self::External(network) => network.score(batch),
        }
    }

    /// The prediction, with one graph that reaches all trainable tensors.
    #[cfg(test)]
    pub(crate) fn forward(&self, batch: &ImageBatch) -> Result<Tensor, ModelError> {
        match self {
            Self::UNet(unet) => unet.forward(batch),
            Self::Sd3(network) => network.forward(batch),
            Self::Flux(network) => network.forward(batch),
            Self::ZImage(network) => network.forward(batch),
            Self::Dit(network) => network.forward(batch),
            Self::External(_) => Err(not_here("a graph")),
        }
    }

    /// The prediction as the output of a tape.
    ///
    /// # Shapes
    /// As in [`DenoiserNetwork::score`].
    ///
    /// # Errors
    /// As in [`DenoiserNetwork::score`]; a network that another library computes, which has no tape of this kind.
    pub fn run_tape(&self, batch: Arc<ImageBatch>, recompute: Recompute) -> Result<Tape<'static>, ModelError> {
        match self {
            Self::UNet(unet) => unet.run_tape(batch, recompute),
            Self::Sd3(network) => network.run_tape(batch, recompute),
            Self::Flux(network) => network.run_tape(batch, recompute),
            Self::ZImage(network) => network.run_tape(batch, recompute),
            Self::Dit(network) => network.run_tape(batch, recompute),
            Self::External(_) => Err(not_here("a tape")),
        }
    }

    /// The prediction as the output of a tape, whoever computes it.
    pub(super) fn record(&self, batch: Arc<ImageBatch>, recompute: Recompute) -> Result<Recorded, ModelError> {
        let Self::External(network) = self else {
            return Ok(Recorded { tape: self.run_tape(batch, recompute)?, external: None });
        };
        let (prediction, passes) = network.record(&batch)?;
        Ok(Recorded { tape: Tape::from_input(&prediction, Recompute::Nothing)?, external: Some(passes) })
    }
}

impl Network for DenoiserNetwork {
    const NAME: &'static str = "denoiser";

    fn weights(&self) -> &Weights {
        match self {
            Self::UNet(unet) => &unet.weights,
            Self::Sd3(network) => &network.weights,
            Self::Flux(network) => &network.weights,
            Self::ZImage(network) => &network.weights,
            Self::Dit(network) => &network.weights,
            Self::External(network) => &network.weights,
        }
    }

    fn weights_changed(&self) {
        if let Self::External(network) = self {
            network.weights_changed();
        }
    }
}

/// The error of what a network that another library computes has not.
fn not_here(what: &str) -> ModelError {
    ModelError::Argument {
        what: what.into(),
        expected: "a network that is built here".into(),
        got: "one that another library computes".into(),
    }
}
