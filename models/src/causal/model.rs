//! The public causal language model.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::lora::{AdaptableLayer, LoraConfig};
use engine::ops::{Matrix, WeightLayout};
use engine::{Gradients, Parameters};

use super::base::BaseWeights;
use super::config::CausalConfig;
use super::decoder::{Decoder, Pass};
use super::draw::GenerationConfig;
use crate::ModelError;
use crate::export::{Export, Exported};
use crate::input_limits::Limits;
use crate::network::{LearnerOptions, TrainedNetwork, Weights};

/// A causal language model: a policy of the token MDP, and a learner with checkpoints and export.
///
/// A batch of episodes is packed into a prefix forest, so shared prompts and prefixes of responses are computed once.
/// Numbers are over the model's whole vocabulary, in nats.
///
/// # Laws
/// The numbers of a decision do not depend on the rest of the batch, to rounding, nor on the order of the batch, to the
/// bit.
#[derive(Debug)]
pub struct CausalLm {
    pub(crate) decoder: TrainedNetwork<Decoder>,
    /// The reference of the divergence channel.
    pub(super) reference: Option<Arc<CausalLm>>,
    pub(super) with_diagnostics: bool,
    /// Whether it gives the collision channel.
    pub(super) with_collision: bool,
    /// The average of its weights, if it keeps one as a reference.
    pub(super) follower: Option<Box<CausalLm>>,
    /// The default sampling parameters.
    pub(super) acting: GenerationConfig,
    pub(super) exporter: Option<Arc<dyn Export<CausalConfig>>>,
}

impl CausalLm {
    /// A frozen model: a reference, a judge, a sampler. `base` has the tensors of [`CausalConfig::expected_tensors`], some of
    /// them in blocks if it is made of [`BaseWeights`].
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn frozen(config: CausalConfig, base: impl Into<BaseWeights>) -> Result<Self, ModelError> {
        let weights = base.into().frozen(&config)?;
        Ok(Self::with_decoder(TrainedNetwork::frozen(Decoder::new(config, weights))))
    }

    /// A frozen model with adapters beside its weights: the tensors and the config of an earlier training.
    ///
    /// # Errors
    /// As [`CausalLm::frozen`], and adapters of other layers or shapes.
    pub fn adapted(
        config: CausalConfig,
        base: impl Into<BaseWeights>,
        lora: LoraConfig,
        adapters: &BTreeMap<String, Tensor>,
    ) -> Result<Self, ModelError> {
        config.check_adapters(&lora, adapters)?;
        let weights = base.into().frozen(&config)?.with_adapters(lora, adapters, config.layout())?;
        Ok(Self::with_decoder(TrainedNetwork::frozen(Decoder::new(config, weights))))
    }

    /// A trainable model: all weights, or adapters on a frozen base.
    ///
    /// # Errors
    /// As [`CausalLm::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        config: CausalConfig,
        base: impl Into<BaseWeights>,
        training: LearnerOptions,
    ) -> Result<Self, ModelError> {
        let base = base.into();
        let weights = match training.adapters() {
            Some(lora) => base.frozen(&config)?.adapted(lora, &config.adaptable_layers(), config.layout())?,
            None => base.trainable(&config)?,
        };
        Ok(Self::with_decoder(TrainedNetwork::learner(Decoder::new(config, weights), training)?))
    }

    fn with_decoder(decoder: TrainedNetwork<Decoder>) -> Self {
        let (with_diagnostics, with_collision) = (false, false);
        let (reference, follower, acting, exporter) = (None, None, GenerationConfig::default(), None);
        Self { decoder, reference, with_diagnostics, with_collision, follower, acting, exporter }
    }

    /// Adds the divergence channel: KL(reference || policy) of every decision (Eq. 14 without its -beta).
    ///
    /// # Errors
    /// A reference with another vocabulary.
    pub fn with_reference(mut self, reference: Arc<Self>) -> Result<Self, ModelError> {
        self.diverge_from(reference)?;
        Ok(self)
    }

    /// As [`with_reference`](Self::with_reference), in place.
    pub(super) fn diverge_from(&mut self, reference: Arc<Self>) -> Result<(), ModelError> {
        let (ours, theirs) = (self.config().vocabulary, reference.config().vocabulary);
        if ours != theirs {
            return Err(ModelError::Argument {
                what: "the reference's vocabulary".into(),
                expected: format!("{ours} tokens, as the policy's"),
                got: theirs.to_string(),
            });
        }
        if reference.config().external.is_some() && self.config().external.is_none() {
            return Err(ModelError::Argument {
                what: "the reference".into(),
                expected: "a model of the policy's kind, whose hidden states are known".into(),
                got: "one that another library computes".into(),
            });
        }
        self.reference = Some(reference);
        Ok(())
    }

    /// Adds diagnostic channels: the entropy of every decision's distribution, the mean logit, and whether the token is
    /// the argmax.
    #[must_use]
    pub fn with_diagnostics(mut self) -> Self {
        self.with_diagnostics = true;
        self
    }

    /// Sets the exporter of its weights or adapters ([`HuggingFaceExport`](crate::formats::HuggingFaceExport), for
    /// example).
    #[must_use]
    pub fn with_exporter(self, exporter: impl Export<CausalConfig> + 'static) -> Self {
        Self { exporter: Some(Arc::new(exporter)), ..self }
    }

    /// Loads adapters of an earlier training run.
    ///
    /// # Errors
    /// Layers or shapes other than those of its adapters.
    pub fn with_adapters(mut self, adapters: &BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        self.decoder.start_from(adapters)?;
        Ok(self)
    }

    /// A frozen copy, adapters included.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn frozen_copy(&self) -> Result<Self, ModelError> {
        Ok(self.frozen_with(self.decoder.weights.frozen_copy()?))
    }

    /// The frozen base without its adapters: a reference. The two share their tensors, so it takes no extra memory.
    ///
    /// # Errors
    /// A model without adapters.
    pub fn base(&self) -> Result<Self, ModelError> {
        Ok(self.frozen_with(self.decoder.weights.base()?))
    }

    /// A frozen copy with the averages of the weights (EMA), which is what [`export`](policies::Persist::export) writes;
    /// `None` without averages.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn averaged(&self) -> Result<Option<Self>, ModelError> {
        Ok(self.decoder.averaged()?.map(|weights| self.frozen_with(weights)))
    }

    /// Makes the average of the weights anew, if it is kept: after every update.
    pub(crate) fn refresh_follower(&mut self) -> Result<(), ModelError> {
        self.follower = self.decoder.following()?.map(|weights| Box::new(self.frozen_with(weights)));
        Ok(())
    }

    fn frozen_with(&self, weights: Weights) -> Self {
        let decoder = TrainedNetwork::frozen(Decoder::new(self.config().clone(), weights));
        Self { exporter: self.exporter.clone(), ..Self::with_decoder(decoder) }
    }

    /// A view of the same weights, now and after every update, with the divergence from `reference` and diagnostics:
    /// for evaluations, which can afford these channels.
    ///
    /// # Errors
    /// A reference with another vocabulary.
    pub fn diagnosed_against(&self, reference: Arc<Self>) -> Result<Self, ModelError> {
        let with_collision = self.with_collision;
        Self { with_collision, ..self.view().with_diagnostics() }.with_reference(reference)
    }

    /// A view of the same weights without channels.
    pub(super) fn view(&self) -> Self {
        let (acting, exporter) = (self.acting.clone(), self.exporter.clone());
        Self { acting, exporter, ..Self::with_decoder(self.decoder.view()) }
    }

    /// The model's config.
    pub fn config(&self) -> &CausalConfig {
        &self.decoder.config
    }

    /// The config of its adapters, if it has any.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.decoder.weights.lora.as_ref()
    }

    /// The model's tensors by name.
    pub fn parameters(&self) -> &Parameters {
        &self.decoder.weights.parameters
    }

    /// The gradient accumulated since the last update; `None` for a frozen model.
    pub fn gradients(&self) -> Option<&Gradients> {
        self.decoder.gradients()
    }

    /// Its exporter, if one was set.
    pub fn exporter(&self) -> Option<&dyn Export<CausalConfig>> {
        self.exporter.as_deref()
    }

    /// The contents of an export.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn exported(&self) -> Result<Exported<'_, CausalConfig>, ModelError> {
        Ok(Exported { config: self.config(), lora: self.lora(), tensors: self.decoder.exported()? })
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { vocabulary: self.config().vocabulary, max_positions: self.config().max_positions }
    }

    /// Hidden states and vocabulary matrix of the reference of the divergence channel.
    pub(super) fn reference_numbers(
        &self,
        packing: &super::packing::Packing,
    ) -> Result<Option<(Tensor, Matrix)>, ModelError> {
        let Some(reference) = &self.reference else { return Ok(None) };
        let (decoder, pass) = (&reference.decoder, Pass::Scoring);
        let hidden = decoder.hidden(packing.reading(), &mut &packing.forest, pass)?;
        Ok(Some((hidden, decoder.vocabulary_matrix(pass)?)))
    }
}

impl CausalConfig {
    /// The memory layout of the linear weights.
    pub(crate) fn layout(&self) -> WeightLayout {
        if self.is_transposed() { WeightLayout::InOut } else { WeightLayout::OutIn }
    }

    /// The layers that can get an adapter: all linear layers of every block.
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        let expected = self.expected_tensors();
        let layers = self.linear_names().into_iter().filter_map(|name| {
            let shape = expected.get(&format!("{name}.weight"))?;
            let (n_out, n_in) = if self.is_transposed() { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
            Some(AdaptableLayer { name, n_in, n_out, kernel: None })
        });
        layers.collect()
    }
}
