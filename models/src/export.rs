//! The interface for exporting a model to other software.
//!
//! A model holds a config and tensors and knows no file. Everything else that an export needs (tokenizer files, other
//! components of a pipeline, the name of the base) is held by an [`Export`], which the model keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use candle_core::Tensor;
use engine::lora::LoraConfig;

use crate::ModelError;

/// Writes models of one kind for other software; [`formats`](crate::formats) has the implementations.
pub trait Export<C>: fmt::Debug + Send + Sync {
    /// Writes a model into a folder, which it replaces.
    ///
    /// # Errors
    /// An I/O error, or tensors that this exporter can't write.
    fn export(&self, folder: &Path, model: &Exported<'_, C>) -> Result<(), ModelError>;
}

/// The contents of an export.
#[derive(Debug)]
pub struct Exported<'a, C> {
    /// The model's config.
    pub config: &'a C,
    /// The config of its adapters, if it has any.
    pub lora: Option<&'a LoraConfig>,
    /// The adapters (`P.lora_A.weight` and `P.lora_B.weight` for a layer `P`) if there are any, else all tensors;
    /// averaged tensors (EMA) replace the trained ones.
    pub tensors: BTreeMap<String, Tensor>,
}
