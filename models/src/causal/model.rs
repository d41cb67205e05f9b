//! The model as its users hold it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Tensor};
use engine::checkpoint::Keep;
use engine::lora::{AdaptableLayer, LoraConfig};
use engine::optim::Optimizer;
use engine::{Gradients, Noise, Parameters};

use super::config::CausalConfig;
use super::decoder::{Decoder, Pass};
use super::draw::Sampling;
use crate::ModelError;
use crate::formats::{Extras, ModelFiles};
use crate::limits::Limits;
use crate::saved;

/// A causal language model: a policy of the token MDP, a learner, and a thing that persists.
///
/// A batch of episodes is packed into a forest of prefixes, so a prompt, and whatever responses have in common after it,
/// is computed once. Numbers are those of the whole vocabulary of the model, in nats.
///
/// # Laws
/// The numbers of a decision do not depend on the rest of the batch, to rounding, nor on the order of the batch, to the
/// bit.
#[derive(Debug)]
pub struct CausalLm {
    pub(super) decoder: Arc<Decoder>,
    pub(super) learning: Option<Learning>,
    pub(super) reference: Option<Reference>,
    pub(super) with_diagnostics: bool,
    /// How it draws tokens where nothing else is said.
    pub(super) acting: Sampling,
    pub(super) extras: Extras,
    pub(super) path: PathBuf,
    pub(super) fingerprint: Mutex<Option<String>>,
}

/// How a model learns.
#[derive(Debug)]
pub struct Training {
    /// The rule of its updates.
    pub optimizer: Box<dyn Optimizer>,
    /// Adapters to learn in place of the model's own weights.
    pub lora: Option<LoraConfig>,
    /// Where fresh adapters start from.
    pub seed: u64,
    /// Whether activations are kept for the way back or computed again.
    pub keep: Keep,
}

#[derive(Debug)]
pub(super) struct Learning {
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) gradients: Gradients,
    pub(super) keep: Keep,
}

/// What the divergence channel is measured against.
#[derive(Debug)]
pub(super) enum Reference {
    Other(Arc<CausalLm>),
    /// The model itself without its adapters.
    Base,
}

impl CausalLm {
    /// A model that stays as it is: a reference, a judge, something to sample from.
    ///
    /// # Errors
    /// Tensors that are missing, that no model of this shape has, or of another shape.
    pub fn frozen(files: ModelFiles) -> Result<Self, ModelError> {
        check_tensors(&files)?;
        let mut parameters = Parameters::default();
        for (name, tensor) in files.tensors {
            parameters.insert_frozen(name, tensor)?;
        }
        Ok(Self::with_decoder(Decoder::new(files.config, parameters, None), None, files.extras, files.path))
    }

    /// A model that learns: all its weights, or adapters on frozen ones.
    ///
    /// # Errors
    /// As [`CausalLm::frozen`], and adapter settings that fit no layer.
    pub fn trainable(files: ModelFiles, training: Training) -> Result<Self, ModelError> {
        check_tensors(&files)?;
        let mut parameters = Parameters::default();
        let dtype = files.tensors.values().next().map_or(DType::F32, Tensor::dtype);
        let device = files.tensors.values().next().map_or(candle_core::Device::Cpu, |tensor| tensor.device().clone());
        for (name, tensor) in files.tensors {
            if training.lora.is_some() {
                parameters.insert_frozen(name, tensor)?;
            } else {
                parameters.insert_trainable(name, tensor)?;
            }
        }
        if let Some(lora) = &training.lora {
            let noise = Noise::new(training.seed);
            lora.attach(&mut parameters, &files.config.adaptable_layers(), &noise, dtype, &device)?;
        }
        let decoder = Decoder::new(files.config, parameters, training.lora);
        let learning = Learning { optimizer: training.optimizer, gradients: Gradients::default(), keep: training.keep };
        Ok(Self::with_decoder(decoder, Some(learning), files.extras, files.path))
    }

    fn with_decoder(decoder: Decoder, learning: Option<Learning>, extras: Extras, path: PathBuf) -> Self {
        Self {
            decoder: Arc::new(decoder),
            learning,
            reference: None,
            with_diagnostics: false,
            acting: Sampling::default(),
            extras,
            path,
            fingerprint: Mutex::default(),
        }
    }

    /// Measures, for every decision, KL(reference || policy): the divergence channel (Eq. 14 without its -beta).
    ///
    /// # Errors
    /// A reference with another vocabulary.
    pub fn with_reference(mut self, reference: Arc<Self>) -> Result<Self, ModelError> {
        let (ours, theirs) = (self.config().vocabulary, reference.config().vocabulary);
        if ours != theirs {
            return Err(ModelError::Argument {
                what: "the reference's vocabulary".into(),
                expected: format!("{ours} tokens, as the policy's"),
                got: theirs.to_string(),
            });
        }
        self.reference = Some(Reference::Other(reference));
        Ok(self)
    }

    /// Measures the divergence from the model without its adapters, which needs no second model in memory.
    ///
    /// # Errors
    /// A model without adapters.
    pub fn with_base_as_reference(mut self) -> Result<Self, ModelError> {
        if self.decoder.lora.is_none() {
            return Err(ModelError::Argument {
                what: "the base as a reference".into(),
                expected: "a model with adapters".into(),
                got: "one without, which would be its own reference".into(),
            });
        }
        self.reference = Some(Reference::Base);
        Ok(self)
    }

    /// Measures what is only looked at too: the entropy of every decision's distribution, the mean logit, and whether the
    /// token is the likeliest.
    #[must_use]
    pub fn with_diagnostics(mut self) -> Self {
        self.with_diagnostics = true;
        self
    }

    /// The same with its adapters as they were left by an earlier training.
    ///
    /// # Errors
    /// Other layers or shapes than those of its adapters.
    pub fn with_adapters(mut self, adapters: &BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        saved::start_from(self.parameters(), adapters)?;
        self.forget_hash();
        Ok(self)
    }

    /// A copy that stays as it is now, adapters included.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn frozen_copy(&self) -> Result<Self, ModelError> {
        let decoder = &self.decoder;
        let copy = Decoder::new(decoder.config.clone(), decoder.parameters.frozen_copy()?, decoder.lora.clone());
        Ok(Self::with_decoder(copy, None, self.extras.clone(), self.path.clone()))
    }

    /// The same weights, now and after every update, seen with the divergence from `reference` and diagnostics: for
    /// evaluations, where these channels are worth what they cost.
    ///
    /// # Errors
    /// A reference with another vocabulary.
    pub fn diagnosed_against(&self, reference: Arc<Self>) -> Result<Self, ModelError> {
        let view = Self {
            decoder: Arc::clone(&self.decoder),
            learning: None,
            reference: None,
            with_diagnostics: true,
            acting: self.acting.clone(),
            extras: Extras::default(),
            path: self.path.clone(),
            fingerprint: Mutex::default(),
        };
        view.with_reference(reference)
    }

    /// The model's shape.
    pub fn config(&self) -> &CausalConfig {
        &self.decoder.config
    }

    /// The settings of its adapters, where it has some.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.decoder.lora.as_ref()
    }

    /// The model's numbers by name.
    pub fn parameters(&self) -> &Parameters {
        &self.decoder.parameters
    }

    /// The gradient gathered since the last update; `None` for a model that does not learn.
    pub fn gradients(&self) -> Option<&Gradients> {
        self.learning.as_ref().map(|learning| &learning.gradients)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { vocabulary: self.config().vocabulary, max_positions: self.config().max_positions }
    }

    /// Hidden states and vocabulary matrix of what the divergence is measured against.
    pub(super) fn reference_numbers(
        &self,
        packing: &super::packing::Packing,
    ) -> Result<Option<(Tensor, Tensor)>, ModelError> {
        let (decoder, pass) = match &self.reference {
            None => return Ok(None),
            Some(Reference::Other(reference)) => (&reference.decoder, Pass::Scoring),
            Some(Reference::Base) => (&self.decoder, Pass::Base),
        };
        let hidden = decoder.hidden(packing.reading(), &mut &packing.forest, pass)?;
        Ok(Some((hidden, decoder.vocabulary_matrix(pass)?)))
    }

    /// A hash of the shape and all weights, computed once between updates.
    pub(super) fn hash(&self) -> Result<String, ModelError> {
        let mut known = self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let mut hasher = blake3::Hasher::new();
        // The same weights are another model with other settings; where the file came from or its type is no setting.
        hasher.update(self.config().settings().as_bytes());
        for (name, tensor) in self.parameters().iter() {
            hasher.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.dims()).as_bytes());
            let numbers = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            for block in numbers.chunks(1 << 14) {
                let bytes: Vec<u8> = block.iter().flat_map(|number| number.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        }
        let hash = hasher.finalize().to_hex().to_string();
        *known = Some(hash.clone());
        Ok(hash)
    }

    pub(super) fn forget_hash(&mut self) {
        *self.fingerprint.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl CausalConfig {
    /// The linear layers that can get an adapter: all of every block.
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        let expected = self.expected_tensors();
        let layers = self.linear_names().into_iter().filter_map(|name| {
            let shape = expected.get(&format!("{name}.weight"))?;
            let (n_out, n_in) = if self.is_transposed() { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
            Some(AdaptableLayer { name, n_in, n_out, kernel: None, is_output_layer: false })
        });
        layers.collect()
    }
}

fn check_tensors(files: &ModelFiles) -> Result<(), ModelError> {
    let expected = files.config.expected_tensors();
    for (name, shape) in &expected {
        match files.tensors.get(name) {
            None => return Err(ModelError::tensor(&files.path, name, "is missing")),
            Some(tensor) if tensor.dims() != shape.as_slice() => {
                let reason = format!("has shape {:?}, expected {shape:?}", tensor.dims());
                return Err(ModelError::tensor(&files.path, name, reason));
            }
            Some(_) => {}
        }
    }
    match files.tensors.keys().find(|name| !expected.contains_key(*name)) {
        Some(name) => Err(ModelError::tensor(&files.path, name, "no model of this shape has it")),
        None => Ok(()),
    }
}
