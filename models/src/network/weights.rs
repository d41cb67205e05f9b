//! The tensors of a network, and adapters on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::lora::{self, AdaptableLayer, Adapter, LoraConfig, LoraExtra, merged_bias, merged_weight};
use engine::ops::{Matrix, WeightLayout};
use engine::quantised::QuantisedMatrix;
use engine::transfer::to_host;
use engine::{EngineError, Noise, Parameters};

use crate::ModelError;

/// The tensors of a network by name.
#[derive(Debug)]
pub(crate) struct Weights {
    /// The tensors, including those of adapters.
    pub(crate) parameters: Parameters,
    /// Matrices that stay in blocks, frozen.
    quantised: Blocks,
    /// The config of the adapters, if it has any.
    pub(crate) lora: Option<LoraConfig>,
    /// The squared norms of the rows of weights, by layer, for adapters with magnitudes.
    squares: Arc<BTreeMap<String, Tensor>>,
}

/// Matrices in blocks by name.
pub(crate) type Blocks = BTreeMap<String, Arc<QuantisedMatrix>>;

impl Weights {
    /// Makes frozen weights.
    pub(crate) fn frozen(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self, ModelError> {
        Self::frozen_beside(tensors, Blocks::new())
    }

    /// Makes frozen weights, some of which stay in blocks.
    pub(crate) fn frozen_beside(
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        quantised: Blocks,
    ) -> Result<Self, ModelError> {
        Ok(Self { parameters: Parameters::frozen(tensors)?, quantised, lora: None, squares: Arc::default() })
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
            return Ok(Self { parameters, ..Self::frozen([])? });
        };
        Self::frozen(tensors)?.adapted((lora, seed), layers, WeightLayout::OutIn)
    }

    /// Adds adapters that learn to frozen weights, initialised from the seed.
    pub(crate) fn adapted(
        mut self,
        (lora, seed): (LoraConfig, u64),
        layers: &[AdaptableLayer],
        layout: WeightLayout,
    ) -> Result<Self, ModelError> {
        let (dtype, device) = (self.dtype(), self.device());
        let adapted = lora.attach(&mut self.parameters, layers, &Noise::new(seed), dtype, &device)?;
        self.lora = Some(lora);
        self.measure(&adapted, layout)?;
        if self.lora.as_ref().is_some_and(|lora| lora.extra == LoraExtra::Magnitude) {
            for (layer, squares) in &*self.squares {
                LoraConfig::set_magnitude(&mut self.parameters, layer, squares)?;
            }
        }
        Ok(self)
    }

    /// Adds adapters of an earlier training to frozen weights, frozen too.
    pub(crate) fn with_adapters(
        mut self,
        lora: LoraConfig,
        tensors: &BTreeMap<String, Tensor>,
        layout: WeightLayout,
    ) -> Result<Self, ModelError> {
        let (dtype, device) = (self.dtype(), self.device());
        let mut adapted: Vec<String> = Vec::new();
        for (name, tensor) in tensors {
            self.parameters.insert_frozen(name, tensor.to_dtype(dtype)?.to_device(&device)?)?;
            adapted.extend(lora::layer_of(name).map(ToOwned::to_owned));
        }
        adapted.dedup();
        self.lora = Some(lora);
        self.measure(&adapted, layout)?;
        Ok(self)
    }

    /// Takes the norms of adapted weights if adapters have magnitudes.
    fn measure(&mut self, adapted: &[String], layout: WeightLayout) -> Result<(), ModelError> {
        if self.lora.as_ref().is_none_or(|lora| lora.extra != LoraExtra::Magnitude) {
            return Ok(());
        }
        let (mut squares, device) = (BTreeMap::new(), self.device());
        for layer in adapted {
            squares.insert(
                layer.clone(),
                self.matrix(&format!("{layer}.weight"))?.row_squares(layout)?.to_device(&device)?,
            );
        }
        self.squares = Arc::new(squares);
        Ok(())
    }

    /// A matrix by name, plain or in blocks.
    pub(crate) fn matrix(&self, name: &str) -> Result<Matrix, EngineError> {
        match self.quantised.get(name) {
            Some(matrix) => Ok(Matrix::Quantised(Arc::clone(matrix))),
            None => Ok(Matrix::from(self.parameters.get(name)?)),
        }
    }

    /// The adapter of a layer, if it has one.
    pub(crate) fn adapter(&self, layer: &str) -> Option<Adapter<'_>> {
        let adapter = self.lora.as_ref()?.adapter(&self.parameters, layer)?;
        Some(Adapter { squares: self.squares.get(layer), ..adapter })
    }

    /// A frozen copy of the weights, adapters included.
    pub(crate) fn frozen_copy(&self) -> Result<Self, ModelError> {
        let (parameters, quantised) = (self.parameters.frozen_copy()?, self.quantised.clone());
        Ok(Self { parameters, quantised, lora: self.lora.clone(), squares: Arc::clone(&self.squares) })
    }

    /// The base without its adapters. It is frozen, so its memory is shared.
    ///
    /// # Errors
    /// Weights without adapters: these are trained themselves, and their initial values are gone.
    pub(crate) fn base(&self) -> Result<Self, ModelError> {
        if self.lora.is_some() {
            return Self::frozen_beside(self.tensors().filter(|(name, _)| !is_adapter(name)), self.quantised.clone());
        }
        Err(ModelError::Argument {
            what: "the base as a reference".into(),
            expected: "a model with adapters".into(),
            got: "one without, which would be its own reference".into(),
        })
    }

    /// The network's own tensors, without adapters; those in blocks are dequantised.
    pub(crate) fn base_tensors(&self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors: BTreeMap<String, Tensor> = self.tensors().filter(|(name, _)| !is_adapter(name)).collect();
        for (name, matrix) in &self.quantised {
            tensors.insert(name.clone(), matrix.to_tensor(&self.device())?);
        }
        Ok(tensors)
    }

    /// The tensors of adapters, such as `P.lora_A.weight` and `P.lora_B.weight` for a layer `P`.
    pub(crate) fn adapter_tensors(&self) -> BTreeMap<String, Tensor> {
        self.tensors().filter(|(name, _)| is_adapter(name)).collect()
    }

    fn tensors(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach()))
    }

    /// Merges the adapters into the base: the tensors of the equivalent plain network.
    pub(crate) fn merged_tensors(&self, layout: WeightLayout) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let mut tensors = self.base_tensors()?;
        for (name, tensor) in &mut tensors {
            let [weight, bias] = [".weight", ".bias"].map(|end| name.strip_suffix(end));
            if let Some(adapter) = weight.and_then(|layer| self.adapter(layer)) {
                *tensor = merged_weight(tensor, layout, adapter)?;
            } else if let Some(adapter) = bias.and_then(|layer| self.adapter(layer)) {
                *tensor = merged_bias(tensor, adapter)?;
            }
        }
        let biased = self.parameters.iter().filter_map(|(name, _)| name.strip_suffix(".lora_B.bias"));
        match biased.into_iter().find(|layer| !tensors.contains_key(&format!("{layer}.bias"))) {
            Some(layer) => Err(ModelError::Argument {
                what: format!("merging the adapter of `{layer}`"),
                expected: "a layer with a bias, to which that of the adapter (`lora_bias`) is added".to_owned(),
                got: "one without".to_owned(),
            }),
            None => Ok(tensors),
        }
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
        // Blocks count as the numbers they stand for, in the order of all names.
        let blocks = self.quantised.iter().map(|(name, matrix)| (name.as_str(), Hashed::Blocks(matrix)));
        let all: BTreeMap<&str, Hashed<'_>> =
            self.parameters.iter().map(|(name, tensor)| (name, Hashed::Plain(tensor))).chain(blocks).collect();
        for (name, hashed) in all {
            hashed.add(name, &mut hasher)?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// What a fingerprint covers.
enum Hashed<'a> {
    Plain(&'a Tensor),
    Blocks(&'a QuantisedMatrix),
}

impl Hashed<'_> {
    fn add(&self, name: &str, hasher: &mut blake3::Hasher) -> Result<(), ModelError> {
        match self {
            Self::Plain(tensor) => {
                hasher.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.dims()).as_bytes());
                add_numbers(&to_host::<f32>(tensor)?, hasher);
            }
            Self::Blocks(matrix) if matrix.is_turned() => {
                return Hashed::Plain(&matrix.to_tensor(&Device::Cpu)?).add(name, hasher);
            }
            Self::Blocks(matrix) => {
                hasher.update(format!("{name} {:?} {:?}\n", DType::F32, matrix.shape()).as_bytes());
                matrix.for_rows(|numbers| add_numbers(numbers, hasher));
            }
        }
        Ok(())
    }
}

fn add_numbers(numbers: &[f32], hasher: &mut blake3::Hasher) {
    for block in numbers.chunks(1 << 14) {
        let bytes: Vec<u8> = block.iter().flat_map(|number| number.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

fn is_adapter(name: &str) -> bool {
    lora::layer_of(name).is_some()
}
