//! The interface through which a model is written for other software.
//!
//! A model holds a configuration and tensors and knows no file. What else its export needs (a tokenizer's files, the
//! other parts of a pipeline, the name of a base) belongs to whoever writes it, an [`Export`] that the model keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use candle_core::Tensor;
use engine::lora::LoraConfig;

use crate::ModelError;

/// Writes models of one kind for other software; [`formats`](crate::formats) has those of the ecosystem.
pub trait Export<C>: fmt::Debug + Send + Sync {
    /// Writes a model into a folder, which it replaces.
    ///
    /// # Errors
    /// The system refuses to write, or the tensors are none that this can write.
    fn export(&self, folder: &Path, model: &Exported<'_, C>) -> Result<(), ModelError>;
}

/// What a model hands over to be written.
#[derive(Debug)]
pub struct Exported<'a, C> {
    /// The model's shape.
    pub config: &'a C,
    /// The settings of its adapters, where it has some.
    pub lora: Option<&'a LoraConfig>,
    /// The adapters (`P.lora_A.weight` and `P.lora_B.weight` for a layer `P`) where there are some, else all tensors; of
    /// what is averaged the average.
    pub tensors: BTreeMap<String, Tensor>,
}
