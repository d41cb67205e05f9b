//! The tensors of a network, and adapters on them.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use engine::lora::{AdaptableLayer, LoraConfig, merged_weight};
use engine::ops::WeightLayout;
use engine::{Noise, Parameters};

use crate::ModelError;

/// The tensors of a network by name.
#[derive(Debug)]
pub(crate) struct Weights {
    /// The tensors, including those of adapters.
    pub(crate) parameters: Parameters,
    /// The config of the adapters, if it has any.
    pub(crate) lora: Option<LoraConfig>,
}

impl Weights {
    /// Makes frozen weights.
    pub(crate) fn frozen(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self, ModelError> {
        Ok(Self { parameters: Parameters::frozen(tensors)?, lora: None })
    }

    /// Makes trainable weights: all of them but the `fixed` ones, or adapters on some `layers` of a frozen base,
    /// initialised from the seed.
    pub(crate) fn trainable(
        tensors: BTreeMap<String, Tensor>,
        lora: Option<(LoraConfig, u64)>,
        layers: &[AdaptableLayer],
        fixed: &[&str],
    ) -> Result<Self, ModelError> {
        let Some((lora, seed)) = lora else {
            let mut parameters = Parameters::default();
            for (name, tensor) in tensors {
                if fixed.contains(&name.as_str()) {
                    parameters.insert_frozen(name, tensor)?;
                } else {
                    parameters.insert_trainable(name, tensor)?;
                }
            }
            return Ok(Self { parameters, lora: None });
        };
        let mut weights = Self::frozen(tensors)?;
        let (dtype, device) = (weights.dtype(), weights.device());
        lora.attach(&mut weights.parameters, layers, &Noise::new(seed), dtype, &device)?;
        Ok(Self { lora: Some(lora), ..weights })
    }

    /// A frozen copy of the weights, adapters included.
    pub(crate) fn frozen_copy(&self) -> Result<Self, ModelError> {
        Ok(Self { parameters: self.parameters.frozen_copy()?, lora: self.lora.clone() })
    }

    /// The base without its adapters. It is frozen, so its memory is shared.
    ///
    /// # Errors
    /// Weights without adapters: these are trained themselves, and their initial values are gone.
    pub(crate) fn base(&self) -> Result<Self, ModelError> {
        if self.lora.is_some() {
            return Self::frozen(self.base_tensors());
        }
        Err(ModelError::Argument {
            what: "the base as a reference".into(),
            expected: "a model with adapters".into(),
            got: "one without, which would be its own reference".into(),
        })
    }

    /// The network's own tensors, without adapters.
    pub(crate) fn base_tensors(&self) -> BTreeMap<String, Tensor> {
        self.tensors().filter(|(name, _)| !is_adapter(name)).collect()
    }

    /// The adapters, `P.lora_A.weight` and `P.lora_B.weight` for a layer `P`.
    pub(crate) fn adapter_tensors(&self) -> BTreeMap<String, Tensor> {
        self.tensors().filter(|(name, _)| is_adapter(name)).collect()
    }

    fn tensors(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach()))
    }

    /// Merges the adapters into the base: the tensors of the equivalent plain network.
    pub(crate) fn merged_tensors(&self, layout: WeightLayout) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors = self.base_tensors();
        let Some(lora) = &self.lora else { return Ok(tensors) };
        for (name, tensor) in &mut tensors {
            let adapter = name.strip_suffix(".weight").and_then(|layer| lora.adapter(&self.parameters, layer));
            if let Some(adapter) = adapter {
                *tensor = merged_weight(tensor, layout, adapter)?;
            }
        }
        Ok(tensors)
    }

    /// Sets the trainable tensors to those of an earlier training run; all are checked before any is changed.
    pub(crate) fn start_from(&self, tensors: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let misfit = |name: &str, expected: String, got: String| {
            Err(ModelError::Argument { what: format!("adapter `{name}`"), expected, got })
        };
        for (name, var) in self.parameters.trainable() {
            match tensors.get(name) {
                None => return misfit(name, "one of an earlier training".to_owned(), "none".to_owned()),
                Some(tensor) if tensor.dims() != var.dims() => {
                    return misfit(name, format!("shape {:?}", var.dims()), format!("{:?}", tensor.dims()));
                }
                Some(_) => {}
            }
        }
        if let Some(name) = tensors.keys().find(|name| !self.parameters.is_trainable(name)) {
            return misfit(name, "only layers that learn".to_owned(), "another".to_owned());
        }
        for (name, var) in self.parameters.trainable() {
            if let Some(tensor) = tensors.get(name) {
                var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)?;
            }
        }
        Ok(())
    }

    /// The dtype.
    pub(crate) fn dtype(&self) -> DType {
        self.parameters.iter().next().map_or(DType::F32, |(_, tensor)| tensor.dtype())
    }

    /// The device.
    pub(crate) fn device(&self) -> Device {
        self.parameters.iter().next().map_or(Device::Cpu, |(_, tensor)| tensor.device().clone())
    }

    /// A hash of all tensors and the settings that affect the output.
    pub(crate) fn hash(&self, settings: &str) -> Result<String, ModelError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(settings.as_bytes());
        if let Some(lora) = &self.lora {
            hasher.update(format!("adapters times {}\n", lora.scale()).as_bytes());
        }
        for (name, tensor) in self.parameters.iter() {
            hasher.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.dims()).as_bytes());
            let numbers = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            for block in numbers.chunks(1 << 14) {
                let bytes: Vec<u8> = block.iter().flat_map(|number| number.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn is_adapter(name: &str) -> bool {
    name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight")
}
