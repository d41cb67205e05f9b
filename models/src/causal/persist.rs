//! Checkpoints, exports and fingerprints.

use std::path::Path;

use super::model::CausalLm;
use crate::formats::{save_huggingface, save_peft};
use policies::{BoxError, Persist};

impl Persist for CausalLm {
    /// Writes what learns (all weights, or the adapters, whose base is the one the run began with), the optimiser's state
    /// and the average of the weights, where there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.decoder.save_checkpoint(folder)?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.decoder.restore_checkpoint(folder)?)
    }

    /// Writes a Hugging Face folder, with the tokenizer's files the model came with; a model with adapters writes them as
    /// a PEFT folder. Where there is an average of the weights, it is what is written.
    fn export(&self, folder: &Path) -> Result<(), BoxError> {
        let (config, extras, tensors) = (self.config(), &self.extras, self.decoder.exported());
        let Some(lora) = self.lora() else {
            return Ok(save_huggingface(folder, config, &tensors, extras, self.save)?);
        };
        // A base that is no file (an embedded model) keeps its name.
        let base = if self.path.exists() { std::path::absolute(&self.path).ok() } else { None };
        let base = base.unwrap_or_else(|| self.path.clone());
        Ok(save_peft(folder, config, &base.to_string_lossy(), lora, &tensors, extras, self.save)?)
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        Ok(self.decoder.fingerprint(&self.config().settings())?)
    }
}
