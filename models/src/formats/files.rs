//! A language model as read from disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Tensor};
use engine::quantised::QuantisedMatrix;

use super::{Extras, ModelTokenizer, TrainedLora};
use crate::ModelError;
use crate::causal::{BaseWeights, CausalConfig};

/// A causal language model as read from disk.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// Its path.
    pub path: PathBuf,
    /// The validated config.
    pub config: CausalConfig,
    /// The tensors of the architecture, f32, under their Hugging Face names; all but those that stay in blocks.
    pub tensors: BTreeMap<String, Tensor>,
    /// Matrices that stay in the blocks of the file; see [`Holding`].
    pub quantised: BTreeMap<String, Arc<QuantisedMatrix>>,
    /// Adapters that are not merged, since weights in blocks or a layer without a bias can't take them.
    pub adapters: Option<TrainedLora>,
    /// The tokenizer, if there is one.
    pub tokenizer: Option<ModelTokenizer>,
    /// Files copied when the model is saved.
    pub extras: Extras,
    /// The type that most of its weights are stored in: F32, F16 or BF16; F32 if they are quantised.
    pub stored: DType,
}

/// How a model's quantised weights are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Dequantised to f32.
    F32,
    /// In the blocks of the file, matrices only; adapters stay beside them. For frozen models and bases of adapters.
    Quantised,
}

impl ModelFiles {
    /// A model of plain tensors, without files beside it.
    pub fn plain(
        path: &Path,
        config: CausalConfig,
        tensors: BTreeMap<String, Tensor>,
        tokenizer: Option<ModelTokenizer>,
    ) -> Self {
        let (quantised, extras, stored) = (BTreeMap::new(), Extras::default(), DType::F32);
        Self { path: path.to_path_buf(), config, tensors, quantised, adapters: None, tokenizer, extras, stored }
    }

    /// The number of parameters, without adapters that are not merged.
    pub fn n_parameters(&self) -> usize {
        let blocks = self.quantised.values().map(|matrix| matrix.dims().iter().product::<usize>());
        self.tensors.values().map(Tensor::elem_count).chain(blocks).sum()
    }

    /// The same model in plain tensors alone: blocks dequantised, adapters merged.
    ///
    /// # Errors
    /// Adapters with a bias for a layer without one.
    pub fn merged(self) -> Result<Self, ModelError> {
        if self.quantised.is_empty() && self.adapters.is_none() {
            return Ok(self);
        }
        let tensors =
            self.base().merged(&self.config, self.adapters.clone().map(|lora| (lora.config, lora.tensors)))?;
        Ok(Self { tensors, quantised: BTreeMap::new(), adapters: None, ..self })
    }

    fn base(&self) -> BaseWeights {
        BaseWeights { tensors: self.tensors.clone(), quantised: self.quantised.clone() }
    }

    /// Returns the tokenizer.
    ///
    /// # Errors
    /// [`ModelError::NoTokenizer`] if the model has no tokenizer.
    pub fn tokenizer(&self) -> Result<&ModelTokenizer, ModelError> {
        self.tokenizer.as_ref().ok_or_else(|| ModelError::NoTokenizer { path: self.path.clone() })
    }

    /// The EOS tokens: the tokenizer's, or the config's if there is no tokenizer.
    pub fn eos(&self) -> &[u32] {
        self.tokenizer.as_ref().map_or(&self.config.eos, |t| &t.eos)
    }
}
