//! Initialisation of new models.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use engine::{Noise, noise};

use super::config::CausalConfig;
use super::family::NormKind;
use crate::ModelError;

impl CausalConfig {
    /// Random initial tensors: weights normal with standard deviation `initializer_range` (0.02 by default), biases
    /// zero, norms one (their weights zero where one is added to them); as in transformers, GPT-2's projections back into
    /// the residual stream are divided by the square root of twice the number of blocks.
    ///
    /// Each tensor depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let std = self.source.get("initializer_range").and_then(serde_json::Value::as_f64).unwrap_or(0.02);
        let mut tensors = BTreeMap::new();
        let names = &self.family.names;
        let is_into_residual = |name: &str| {
            [names.attention_output, names.down].iter().any(|end| name.ends_with(&format!(".{end}.weight")))
        };
        for (name, shape) in self.expected_tensors() {
            let into_residual = self.family.scales_new_projections && is_into_residual(&name);
            let std = if into_residual { std / (2. * self.n_layers as f64).sqrt() } else { std };
            let is_plus_one = self.family.norm == NormKind::RmsPlusOne && shape.len() == 1;
            let tensor = if is_plus_one || name.rsplit('.').next() == Some("bias") {
                Tensor::zeros(shape, DType::F32, device)?
            } else if shape.len() == 1 {
                Tensor::ones(shape, DType::F32, device)?
            } else {
                noise::normal(&mut noise.stream(&name, 0), shape, std, device)?
            };
            tensors.insert(name, tensor);
        }
        Ok(tensors)
    }
}
