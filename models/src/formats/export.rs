//! How models are saved: checkpoints in their own form, exports in the ecosystem's.
//!
//! A model keeps what its files came with as an [`Export`]; one that was made in memory has none and is written as the
//! ecosystem's plainest folder.

use std::path::{Path, PathBuf};

use policies::{BoxError, Persist};

use super::{DiffusersFolder, Extras, SaveOptions, save_huggingface, save_peft, save_unet, save_unet_lora};
use crate::ModelError;
use crate::causal::{CausalConfig, CausalLm};
use crate::denoiser::Denoiser;
use crate::export::{Export, Exported};
use crate::unet::UNetConfig;

/// Writes a language model as a Hugging Face folder, or its adapters as a PEFT folder.
#[derive(Clone, Debug, Default)]
pub struct HuggingFaceExport {
    /// What the model is called where it was found: what adapters name as their base.
    pub base: PathBuf,
    /// The files that are written beside the weights as they are: tokenizer, chat templates, generation settings.
    pub extras: Extras,
    /// How the weights or adapters are written.
    pub save: SaveOptions,
}

impl Export<CausalConfig> for HuggingFaceExport {
    fn export(&self, folder: &Path, model: &Exported<'_, CausalConfig>) -> Result<(), ModelError> {
        let Exported { config, lora, tensors } = model;
        let Some(lora) = lora else {
            return save_huggingface(folder, config, tensors, &self.extras, self.save);
        };
        // A base that is no file (an embedded model) keeps its name.
        let base = if self.base.exists() { std::path::absolute(&self.base).ok() } else { None };
        let base = base.unwrap_or_else(|| self.base.clone());
        save_peft(folder, config, &base.to_string_lossy(), lora, tensors, &self.extras, self.save)
    }
}

/// Writes a denoiser as a diffusers folder: the network, and everything it came with as it was. Adapters are written as a
/// LoRA file that diffusers loads.
#[derive(Clone, Debug, Default)]
pub struct DiffusersExport {
    /// The folder whose other parts (autoencoder, text encoders, tokenizers) are written beside the network.
    pub folder: Option<DiffusersFolder>,
    /// The scheduler's file, as text.
    pub scheduler: Option<String>,
    /// What the model is called where it was found: what adapters name as their base.
    pub base: String,
    /// How the network's weights or adapters are written.
    pub save: SaveOptions,
}

impl Export<UNetConfig> for DiffusersExport {
    fn export(&self, folder: &Path, model: &Exported<'_, UNetConfig>) -> Result<(), ModelError> {
        let Exported { config, lora, tensors } = model;
        if let Some(lora) = lora {
            return save_unet_lora(folder, &self.base, lora, tensors, self.save);
        }
        let write = |path: &Path| save_unet(path, config, tensors, self.save);
        match self.folder.as_ref().filter(|folder| folder.pipeline.is_some()) {
            Some(parts) => parts.save(folder, write)?,
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

impl Persist for CausalLm {
    /// Writes what learns (all weights, or the adapters, whose base is the one the run began with), the optimiser's state
    /// and the average of the weights, where there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.decoder.save_checkpoint(folder)?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.decoder.restore_checkpoint(folder)?)
    }

    /// Writes what the model's exporter writes; without one a Hugging Face folder without a tokenizer, or a PEFT folder
    /// whose base has no name. Where there is an average of the weights, it is what is written.
    fn export(&self, folder: &Path) -> Result<(), BoxError> {
        let plain = HuggingFaceExport::default();
        Ok(self.exporter().unwrap_or(&plain).export(folder, &self.exported())?)
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        Ok(self.decoder.fingerprint(&self.config().settings())?)
    }
}

impl Persist for Denoiser {
    /// Writes what learns, the optimiser's state and the average of the weights, where there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.unet.save_checkpoint(folder)?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.unet.restore_checkpoint(folder)?)
    }

    /// Writes what the denoiser's exporter writes; without one the network alone, or adapters whose base has no name.
    /// Where there is an average of the weights, it is what is written.
    fn export(&self, folder: &Path) -> Result<(), BoxError> {
        let plain = DiffusersExport::default();
        Ok(self.exporter().unwrap_or(&plain).export(folder, &self.exported())?)
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        let settings = format!("{} {:?}\n", self.unet().config.settings(), self.prediction());
        Ok(self.unet.fingerprint(&settings)?)
    }
}
