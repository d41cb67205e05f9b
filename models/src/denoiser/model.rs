//! The public denoiser.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::lora::LoraConfig;
use engine::{Gradients, Parameters};
use mdp::diffusion::{LatentShape, NoiseLevel};

use super::config::DenoiserConfig;
use super::network::DenoiserNetwork;
use super::{Condition, ConditionedMdp, Prediction};
use crate::ModelError;
use crate::export::{Export, Exported};
use crate::network::{LearnerOptions, Network as _, TrainedNetwork};
use crate::sampler::{Sampler, SamplerSteps};

/// The sampler of a denoiser, which turns its predictions into a distribution over next latents.
#[derive(Clone, Debug)]
pub struct SamplerConfig {
    /// The rule from a prediction to the next latent.
    pub sampler: Sampler,
    /// The noise level after the last step: [`NoiseLevel::IMAGE`], or the schedule's cleanest.
    pub last: NoiseLevel,
    /// Clips estimated images to plus and minus this. A clipping policy can only sample: its decisions have no score.
    pub clip: Option<f64>,
    /// Classifier-free guidance: its scale and the unconditional condition.
    pub guidance: Option<(f64, Condition)>,
}

impl SamplerConfig {
    /// A sampler that ends at the image, without clipping and guidance.
    pub fn plain(sampler: Sampler) -> Self {
        Self { sampler, last: NoiseLevel::IMAGE, clip: None, guidance: None }
    }

    /// The guidance scale, 1 without guidance.
    pub(super) fn guidance(&self) -> f64 {
        self.guidance.as_ref().map_or(1.0, |(scale, _)| *scale)
    }

    pub(super) fn unguided(&self) -> Option<Condition> {
        self.guidance.as_ref().map(|(_, empty)| Arc::clone(empty))
    }

    /// The sampling steps of a problem's timesteps.
    pub(super) fn sampling(&self, mdp: &ConditionedMdp, prediction: Prediction) -> Result<SamplerSteps, ModelError> {
        let strides = self.sampler.strides(&mdp.schedule, &mdp.timesteps, self.last);
        SamplerSteps::new(self.sampler, prediction, strides, self.clip)
    }

    /// The sampling steps for scoring decisions.
    pub(super) fn scored_sampling(
        &self,
        mdp: &ConditionedMdp,
        prediction: Prediction,
    ) -> Result<SamplerSteps, ModelError> {
        let sampling = self.sampling(mdp, prediction)?;
        if self.clip.is_some() || !sampling.is_stochastic() {
            return Err(ModelError::Argument {
                what: "the sampler of a policy that is to be scored on drawn latents".into(),
                expected: "ddpm, or ddim or flow-sde with eta above 0, without clipping: steps that have a density"
                    .into(),
                got: format!("{:?}, clipped at {:?}", self.sampler, self.clip),
            });
        }
        Ok(sampling)
    }
}

/// A denoising network as a policy of the denoising problem.
///
/// A decision towards the finished image scores minus the summed squared error of the prediction; a drawn latent scores
/// its log-density under the step's Gaussian, in nats, summed over the latent's numbers; the initial noise, which is
/// not the policy's, scores 0.
///
/// # Laws
/// The numbers of a decision do not depend on the rest of the batch, to rounding.
#[derive(Debug)]
pub struct Denoiser {
    pub(crate) network: TrainedNetwork<DenoiserNetwork>,
    pub(super) config: DenoiserConfig,
    pub(super) prediction: Prediction,
    pub(super) shape: LatentShape,
    pub(super) acting: SamplerConfig,
    pub(super) exporter: Option<Arc<dyn Export<DenoiserConfig>>>,
    /// The average of its weights, if it keeps one as a reference.
    pub(super) follower: Option<Box<Denoiser>>,
}

impl Denoiser {
    /// A frozen denoiser: a reference, a sampler. `tensors` are those of the config
    /// ([`NetworkConfig::tensor_shapes`](super::NetworkConfig::tensor_shapes)).
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape; latents with another number of channels.
    pub fn frozen(
        config: impl Into<DenoiserConfig>,
        tensors: BTreeMap<String, Tensor>,
        prediction: Prediction,
        shape: LatentShape,
        acting: SamplerConfig,
    ) -> Result<Self, ModelError> {
        let config = config.into();
        config.check_latents(shape, "the latents")?;
        let network = TrainedNetwork::frozen(DenoiserNetwork::frozen(config.clone(), tensors)?);
        Ok(Self { network, config, prediction, shape, acting, exporter: None, follower: None })
    }

    /// A trainable denoiser: all weights, or adapters on a frozen base.
    ///
    /// # Errors
    /// As [`Denoiser::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: impl Into<DenoiserConfig>,
        tensors: BTreeMap<String, Tensor>,
        prediction: Prediction,
        shape: LatentShape,
        acting: SamplerConfig,
        training: LearnerOptions,
    ) -> Result<Self, ModelError> {
        let config = config.into();
        config.check_latents(shape, "the latents")?;
        let network = DenoiserNetwork::trainable(config.clone(), tensors, training.adapters())?;
        let network = TrainedNetwork::learner(network, training)?;
        Ok(Self { network, config, prediction, shape, acting, exporter: None, follower: None })
    }

    /// Loads adapters of an earlier training run.
    ///
    /// # Errors
    /// Layers or shapes other than those of its adapters.
    pub fn with_adapters(mut self, adapters: &BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        self.network.start_from(adapters)?;
        Ok(self)
    }

    /// A frozen copy, adapters included.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn frozen_copy(&self) -> Result<Self, ModelError> {
        Ok(self.frozen_with(self.network.with_weights(self.network.weights().frozen_copy()?)))
    }

    /// A frozen copy with the averages of the weights (EMA), which is what [`export`](policies::Persist::export) writes;
    /// `None` without averages.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn averaged(&self) -> Result<Option<Self>, ModelError> {
        let averages = self.network.averaged()?;
        Ok(averages.map(|weights| self.frozen_with(self.network.with_weights(weights))))
    }

    /// Makes the average of the weights anew, if it is kept: after every update.
    pub(crate) fn refresh_follower(&mut self) -> Result<(), ModelError> {
        let following = self.network.following()?;
        self.follower = following.map(|weights| Box::new(self.frozen_with(self.network.with_weights(weights))));
        Ok(())
    }

    /// The frozen base without its adapters: a reference. The two share their tensors, so it takes no extra memory.
    ///
    /// # Errors
    /// A denoiser without adapters.
    pub fn base(&self) -> Result<Self, ModelError> {
        Ok(self.frozen_with(self.network.with_weights(self.network.weights().base()?)))
    }

    fn frozen_with(&self, network: DenoiserNetwork) -> Self {
        Self {
            network: TrainedNetwork::frozen(network),
            config: self.config.clone(),
            prediction: self.prediction,
            shape: self.shape,
            acting: self.acting.clone(),
            exporter: self.exporter.clone(),
            follower: None,
        }
    }

    /// Sets the exporter of its weights or adapters ([`DiffusersExport`](crate::formats::DiffusersExport), for
    /// example).
    #[must_use]
    pub fn with_exporter(self, exporter: impl Export<DenoiserConfig> + 'static) -> Self {
        Self { exporter: Some(Arc::new(exporter)), ..self }
    }

    /// The network.
    pub fn network(&self) -> &DenoiserNetwork {
        &self.network
    }

    /// The network's config.
    pub fn config(&self) -> &DenoiserConfig {
        &self.config
    }

    /// The prediction type of the network.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The shape of its latents.
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// Its sampler settings.
    pub fn acting(&self) -> &SamplerConfig {
        &self.acting
    }

    /// The config of its adapters, if it has any.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.network.weights().lora.as_ref()
    }

    /// The network's tensors by name.
    pub fn parameters(&self) -> &Parameters {
        &self.network.weights().parameters
    }

    /// The gradient accumulated since the last update; `None` for a frozen denoiser.
    pub fn gradients(&self) -> Option<&Gradients> {
        self.network.gradients()
    }

    /// Its exporter, if one was set.
    pub fn exporter(&self) -> Option<&dyn Export<DenoiserConfig>> {
        self.exporter.as_deref()
    }

    /// The contents of an export.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn exported(&self) -> Result<Exported<'_, DenoiserConfig>, ModelError> {
        Ok(Exported { config: &self.config, lora: self.lora(), tensors: self.network.exported()? })
    }

    pub(super) fn device(&self) -> Device {
        self.network.weights().device()
    }

    pub(super) fn dtype(&self) -> DType {
        self.network.weights().dtype()
    }
}
