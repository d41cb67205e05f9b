//! The weights that a language model is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::lora::{LoraConfig, layer_of};
use engine::quantised::QuantisedMatrix;

use super::config::CausalConfig;
use crate::ModelError;
use crate::external::External;
use crate::network::Weights;
use crate::tensors::{check_shapes, shapes};

/// The weights of a language model by Hugging Face name: plain tensors, and frozen matrices that stay in blocks.
#[derive(Clone, Debug, Default)]
pub struct BaseWeights {
    /// Plain tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// Matrices in blocks.
    pub quantised: BTreeMap<String, Arc<QuantisedMatrix>>,
}

/// Plain tensors alone.
impl From<BTreeMap<String, Tensor>> for BaseWeights {
    fn from(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors, ..Self::default() }
    }
}

impl BaseWeights {
    /// Frozen weights of a model of this config.
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub(super) fn frozen(self, config: &CausalConfig) -> Result<Weights, ModelError> {
        let mut found = shapes(&self.tensors);
        found.extend(self.quantised.iter().map(|(name, matrix)| (name.clone(), matrix.shape().to_vec())));
        check_shapes(config.family.model_type(), &config.expected_tensors(), &found)?;
        Weights::frozen_beside(self.tensors, self.quantised)
    }

    /// Plain tensors alone: blocks dequantised, adapters merged.
    ///
    /// # Errors
    /// Adapters with a bias for a layer without one.
    pub(crate) fn merged(
        self,
        config: &CausalConfig,
        adapters: Option<(LoraConfig, BTreeMap<String, Tensor>)>,
    ) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let weights = Weights::frozen_beside(self.tensors, self.quantised)?;
        let weights = match adapters {
            None => weights,
            Some((lora, tensors)) => weights.with_adapters(lora, &tensors, config.layout())?,
        };
        weights.merged_tensors(config.layout())
    }

    /// Weights of a model of this config that all learn.
    ///
    /// # Errors
    /// As [`BaseWeights::frozen`], and matrices in blocks.
    pub(super) fn trainable(self, config: &CausalConfig) -> Result<Weights, ModelError> {
        if let Some((name, matrix)) = self.quantised.first_key_value() {
            return Err(ModelError::Argument {
                what: format!("training `{name}`"),
                expected: "plain numbers; weights in blocks only learn by adapters".to_owned(),
                got: format!("{:?}", matrix.format()),
            });
        }
        check_shapes(config.family.model_type(), &config.expected_tensors(), &shapes(&self.tensors))?;
        let fixed = config.external.as_ref().map(External::fixed).unwrap_or_default();
        Weights::trainable(self.tensors, None, &[], &fixed)
    }
}

impl CausalConfig {
    /// Checks that adapters have the shapes of this model's layers.
    ///
    /// # Errors
    /// Another layer, or another shape.
    pub(super) fn check_adapters(
        &self,
        lora: &LoraConfig,
        adapters: &BTreeMap<String, Tensor>,
    ) -> Result<(), ModelError> {
        let layers = self.adaptable_layers();
        for (name, tensor) in adapters {
            let layer = layer_of(name).and_then(|layer| layers.iter().find(|known| known.name == layer));
            let misfit = |expected: String| ModelError::Argument {
                what: format!("adapter `{name}`"),
                expected,
                got: format!("shape {:?}", tensor.dims()),
            };
            let Some(layer) = layer else { return Err(misfit("one of the model's linear layers".to_owned())) };
            let expected = match name.strip_prefix(&layer.name) {
                Some(".lora_A.weight") => vec![lora.rank, layer.n_in],
                Some(".lora_B.weight") => vec![layer.n_out, lora.rank],
                _ => vec![layer.n_out],
            };
            if tensor.dims() != expected {
                return Err(misfit(format!("shape {expected:?}")));
            }
        }
        Ok(())
    }
}
