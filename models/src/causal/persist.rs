//! Checkpoints, exports and fingerprints.

use std::path::Path;

use engine::lora::parameter_names;

use super::model::CausalLm;
use crate::formats::{SaveOptions, save_huggingface, save_peft};
use crate::saved;
use policies::{BoxError, Persist};

impl Persist for CausalLm {
    /// Writes what learns: all weights, or the adapters, whose base is the one the run began with; and the optimiser's
    /// state.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        Ok(saved::save(folder, self.parameters(), self.learning.as_ref().map(|learning| learning.optimizer.as_ref()))?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        let learning = self.learning.as_mut();
        saved::restore(folder, &self.decoder.parameters, learning.map(|learning| &mut learning.optimizer))?;
        if let Some(learning) = &mut self.learning {
            learning.gradients.clear();
        }
        self.forget_hash();
        Ok(())
    }

    /// Writes a Hugging Face folder, with the tokenizer's files the model came with; a model with adapters writes them as
    /// a PEFT folder.
    fn export(&self, folder: &Path) -> Result<(), BoxError> {
        let (config, extras) = (self.config(), &self.extras);
        let Some(lora) = &self.decoder.lora else {
            let all = self.parameters().iter().map(|(name, tensor)| (name.to_owned(), tensor.detach()));
            return Ok(save_huggingface(folder, config, &all.collect(), extras, SaveOptions::default())?);
        };
        // A base that is no file (an embedded model) keeps its name.
        let base = if self.path.exists() { std::path::absolute(&self.path).ok() } else { None };
        let base = base.unwrap_or_else(|| self.path.clone());
        let halves = config.linear_names().into_iter().flat_map(|layer| {
            let (a, b) = parameter_names(&layer);
            [a, b]
        });
        let adapters = halves.filter_map(|name| {
            let tensor = self.parameters().find(&name)?.detach();
            Some((name, tensor))
        });
        Ok(save_peft(folder, config, &base.to_string_lossy(), lora, &adapters.collect(), extras)?)
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        Ok(self.hash()?)
    }
}
