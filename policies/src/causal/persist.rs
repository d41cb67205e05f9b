//! Checkpoints, exports and fingerprints.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, safetensors};
use engine::lora::parameter_names;

use super::model::CausalLm;
use crate::PolicyError;
use crate::formats::{SaveOptions, save_huggingface, save_peft};
use crate::policy::{BoxError, Persist};

const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

impl Persist for CausalLm {
    /// Writes what learns: all weights, or the adapters, whose base is the one the run began with; and the optimiser's
    /// state.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        let weights = self.parameters().trainable().map(|(name, var)| (name.to_owned(), var.as_tensor().clone()));
        write(&folder.join(WEIGHTS), weights)?;
        if let Some(learning) = &self.learning {
            write(&folder.join(OPTIMIZER), learning.optimizer.state()?)?;
        }
        Ok(())
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        let path = folder.join(WEIGHTS);
        let mut weights = read(&path)?;
        // All is checked before anything is changed.
        for (name, var) in self.parameters().trainable() {
            match weights.get(name) {
                None => return Err(PolicyError::tensor(&path, name, "is missing").into()),
                Some(tensor) if tensor.dims() != var.dims() || tensor.dtype() != var.dtype() => {
                    let reason = format!(
                        "is {:?} {:?}, expected {:?} {:?}",
                        tensor.dtype(),
                        tensor.dims(),
                        var.dtype(),
                        var.dims()
                    );
                    return Err(PolicyError::tensor(&path, name, reason).into());
                }
                Some(_) => {}
            }
        }
        if let Some(name) = weights.keys().find(|name| !self.parameters().is_trainable(name)) {
            return Err(PolicyError::tensor(&path, name, "is none of the weights this model learns").into());
        }
        let optimizer = folder.join(OPTIMIZER);
        let state = if self.learning.is_some() { Some(read(&optimizer)?) } else { None };
        for (name, var) in self.decoder.parameters.trainable() {
            if let Some(tensor) = weights.remove(name) {
                var.set(&tensor.to_device(var.device())?)?;
            }
        }
        if let (Some(learning), Some(state)) = (&mut self.learning, state) {
            let state = state.into_iter().collect();
            learning.optimizer.load_state(state).map_err(|e| PolicyError::format(&optimizer, e.to_string()))?;
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

fn write(path: &Path, tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<(), PolicyError> {
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    safetensors::save(&tensors, path).map_err(|e| PolicyError::format(path, format!("cannot be written: {e}")))
}

fn read(path: &Path) -> Result<HashMap<String, Tensor>, PolicyError> {
    safetensors::load(path, &Device::Cpu).map_err(|e| PolicyError::format(path, format!("cannot be read: {e}")))
}
