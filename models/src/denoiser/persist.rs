//! Checkpoints, exports and fingerprints.

use std::path::Path;

use super::model::Denoiser;
use crate::ModelError;
use crate::formats::{save_unet, save_unet_lora};
use policies::{BoxError, Persist};

impl Persist for Denoiser {
    /// Writes what learns, the optimiser's state and the average of the weights, where there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.unet.save_checkpoint(folder)?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        Ok(self.unet.restore_checkpoint(folder)?)
    }

    /// Writes a diffusers folder: the network, and everything it came with as it was. Adapters are written as a LoRA file
    /// that diffusers loads. Where there is an average of the weights, it is what is written.
    fn export(&self, folder: &Path) -> Result<(), BoxError> {
        let tensors = self.unet.exported();
        if let Some(lora) = self.lora() {
            return Ok(save_unet_lora(folder, &self.export_context.name, lora, &tensors, self.export_context.save)?);
        }
        let write = |path: &Path| save_unet(path, &self.unet.config, &tensors, self.export_context.save);
        match self.export_context.folder.as_ref().filter(|folder| folder.pipeline.is_some()) {
            Some(export_context) => export_context.save(folder, write)?,
            None => write(folder)?,
        }
        if let Some(scheduler) = &self.export_context.scheduler {
            let path = folder.join("scheduler");
            let file = path.join("scheduler_config.json");
            std::fs::create_dir_all(&path).map_err(|e| ModelError::io(&path, e))?;
            std::fs::write(&file, scheduler).map_err(|e| ModelError::io(&file, e))?;
        }
        Ok(())
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        let settings = format!("{} {:?}\n", self.unet.config.settings(), self.prediction);
        Ok(self.unet.fingerprint(&settings)?)
    }
}
