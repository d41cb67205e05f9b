//! Saving of models: checkpoints in this crate's format, exports in the ecosystem's.
//!
//! A model keeps the files it was loaded with as an [`Export`]; one made in memory has none and is written as a minimal
//! folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use policies::{Persist, PolicyError, Shares};

use super::staging::Staging;
use super::{DiffusersFolder, Extras, SaveOptions, save_denoiser, save_denoiser_lora, save_huggingface, save_peft};
use crate::ModelError;
use crate::causal::{CausalConfig, CausalLm};
use crate::denoiser::{Denoiser, DenoiserConfig};
use crate::export::{Export, Exported};
use crate::external::External;

/// Writes a language model as a Hugging Face folder, or its adapters as a PEFT folder.
#[derive(Clone, Debug, Default)]
pub struct HuggingFaceExport {
    /// The model's name or path, which adapters record as their base.
    pub base: PathBuf,
    /// Files copied beside the weights: tokenizer, chat templates, generation settings.
    pub extras: Extras,
    /// The options of written weights or adapters.
    pub save: SaveOptions,
}

impl Export<CausalConfig> for HuggingFaceExport {
    fn export(&self, folder: &Path, model: &Exported<'_, CausalConfig>) -> Result<(), ModelError> {
        let Exported { config, lora, tensors } = model;
        if let Some(network) = &config.external {
            return save_external(folder, network, &self.extras, tensors);
        }
        let Some(lora) = lora else {
            return save_huggingface(folder, config, tensors, &self.extras, self.save);
        };
        // A base that is not a path (an embedded model) keeps its name.
        let base = if self.base.exists() { std::path::absolute(&self.base).ok() } else { None };
        let base = base.unwrap_or_else(|| self.base.clone());
        save_peft(folder, config, &base.to_string_lossy(), lora, tensors, &self.extras, self.save)
    }
}

/// Writes a denoiser as a diffusers folder: the network, with copies of the other components. Adapters are written as a
/// LoRA file that diffusers loads.
#[derive(Clone, Debug, Default)]
pub struct DiffusersExport {
    /// The folder of the other components (autoencoder, text encoders, tokenizers).
    pub folder: Option<DiffusersFolder>,
    /// The scheduler's file, as text.
    pub scheduler: Option<String>,
    /// The model's name or path, which adapters record as their base.
    pub base: String,
    /// The options of the network's written weights or adapters.
    pub save: SaveOptions,
}

impl Export<DenoiserConfig> for DiffusersExport {
    fn export(&self, folder: &Path, model: &Exported<'_, DenoiserConfig>) -> Result<(), ModelError> {
        let Exported { config, lora, tensors } = model;
        if let DenoiserConfig::External(config) = config {
            return save_external(folder, &config.network, &Extras::default(), tensors);
        }
        if let Some(lora) = lora {
            return save_denoiser_lora(folder, config, &self.base, lora, tensors, self.save);
        }
        let write = |path: &Path| save_denoiser(path, config, tensors, self.save);
        match self.folder.as_ref().filter(|folder| folder.pipeline.is_some()) {
            Some(parts) => parts.save(folder, config.component(), write)?,
            None => write(folder)?,
        }
        if let Some(scheduler) = &self.scheduler {
            let path = folder.join("scheduler");
            let file = path.join("scheduler_config.json");
            std::fs::create_dir_all(&path).map_err(|e| ModelError::io(&path, e))?;
            std::fs::write(&file, scheduler).map_err(|e| ModelError::io(&file, e))?;
        }
        Ok(())
    }
}

/// Writes a network that another library computes as that library writes it, with extra files; an existing folder is replaced.
fn save_external<B: 'static>(
    folder: &Path,
    network: &External<B>,
    extras: &Extras,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<(), ModelError> {
    let staging = Staging::new(folder)?;
    for (name, bytes) in extras.iter() {
        staging.write(name, bytes)?;
    }
    network.write_tensors(&staging.path(""), tensors)?;
    staging.publish()
}

impl Persist for CausalLm {
    /// Writes trainable tensors (all weights, or the adapters, which need the same base on resume), the optimiser
    /// state, and the EMA if there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError> {
        Ok(self.decoder.save_checkpoint(folder)?)
    }

    fn save_checkpoint_of_shares(&self, folder: Option<&Path>, shares: &dyn Shares) -> Result<(), PolicyError> {
        Ok(self.decoder.save_checkpoint_of_shares(folder, shares)?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError> {
        self.decoder.restore_checkpoint(folder)?;
        Ok(self.refresh_follower()?)
    }

    /// Exports by the model's exporter; without one as a Hugging Face folder without a tokenizer, or a PEFT folder with
    /// an empty base name. An EMA replaces the weights.
    fn export(&self, folder: &Path) -> Result<(), PolicyError> {
        let plain = HuggingFaceExport::default();
        Ok(self.exporter().unwrap_or(&plain).export(folder, &self.exported()?)?)
    }

    fn fingerprint(&self) -> Result<String, PolicyError> {
        Ok(self.decoder.fingerprint(&self.config().settings())?)
    }
}

impl Persist for Denoiser {
    /// Writes trainable tensors, the optimiser state, and the EMA if there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError> {
        Ok(self.network.save_checkpoint(folder)?)
    }

    fn save_checkpoint_of_shares(&self, folder: Option<&Path>, shares: &dyn Shares) -> Result<(), PolicyError> {
        Ok(self.network.save_checkpoint_of_shares(folder, shares)?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError> {
        self.network.restore_checkpoint(folder)?;
        Ok(self.refresh_follower()?)
    }

    /// Exports by the denoiser's exporter; without one the network alone, or adapters with an empty base name. An EMA
    /// replaces the weights.
    fn export(&self, folder: &Path) -> Result<(), PolicyError> {
        let plain = DiffusersExport::default();
        Ok(self.exporter().unwrap_or(&plain).export(folder, &self.exported()?)?)
    }

    fn fingerprint(&self) -> Result<String, PolicyError> {
        let settings = format!("{} {:?}\n", self.config().settings(), self.prediction());
        Ok(self.network.fingerprint(&settings)?)
    }
}
