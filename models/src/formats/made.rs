//! Models of files.

use super::{HuggingFaceExport, ModelFiles};
use crate::ModelError;
use crate::causal::{BaseWeights, CausalLm, LearnerOptions};

impl ModelFiles {
    /// Makes a frozen model: [`CausalLm::frozen`] with an exporter that copies its files.
    ///
    /// # Errors
    /// Tensors that do not match the config.
    pub fn frozen(self) -> Result<CausalLm, ModelError> {
        let exporter = self.exporter();
        let Self { config, tensors, quantised, adapters, .. } = self;
        let base = BaseWeights { tensors, quantised };
        let model = match adapters {
            None => CausalLm::frozen(config, base)?,
            Some(adapters) => CausalLm::adapted(config, base, adapters.config, &adapters.tensors)?,
        };
        Ok(model.with_exporter(exporter))
    }

    /// Makes a trainable model: [`CausalLm::trainable`] with an exporter that copies its files.
    ///
    /// # Errors
    /// As [`ModelFiles::frozen`], and LoRA settings that match no layer; adapters that can't be merged.
    pub fn trainable(self, training: LearnerOptions) -> Result<CausalLm, ModelError> {
        let exporter = self.exporter();
        let files = if training.lora.is_none() || self.adapters.is_some() { self.merged()? } else { self };
        let base = BaseWeights { tensors: files.tensors, quantised: files.quantised };
        Ok(CausalLm::trainable(files.config, base, training)?.with_exporter(exporter))
    }

    /// The exporter of a model of these files: a folder with copies of them, or adapters whose base is this path.
    pub fn exporter(&self) -> HuggingFaceExport {
        HuggingFaceExport { base: self.path.clone(), extras: self.extras.clone(), ..HuggingFaceExport::default() }
    }
}
