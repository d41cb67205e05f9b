//! Checkpoints, exports and fingerprints.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;

use super::model::{Denoiser, Learning};
use crate::formats::{save_unet, save_unet_lora};
use crate::{ModelError, saved};
use policies::{BoxError, Persist};

const AVERAGE: &str = "average.safetensors";

impl Persist for Denoiser {
    /// Writes what learns, the optimiser's state and the average of the weights, where there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError> {
        let learning = self.learning.as_ref();
        saved::save(folder, &self.unet.parameters, learning.map(|learning| learning.optimizer.as_ref()))?;
        if let Some(ema) = learning.and_then(|learning| learning.ema.as_ref()) {
            saved::write(&folder.join(AVERAGE), ema.state()?)?;
        }
        Ok(())
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError> {
        let path = folder.join(AVERAGE);
        let average = match &self.learning {
            Some(Learning { ema: Some(_), .. }) => Some(saved::read(&path)?),
            _ => None,
        };
        let optimizer = self.learning.as_mut().map(|learning| &mut learning.optimizer);
        saved::restore(folder, &self.unet.parameters, optimizer)?;
        if let Some(learning) = &mut self.learning {
            learning.gradients.clear();
            if let (Some(ema), Some(average)) = (&mut learning.ema, average) {
                let state = average.into_iter().collect();
                ema.load_state(state).map_err(|e| ModelError::format(&path, e.to_string()))?;
            }
        }
        self.forget_hash();
        Ok(())
    }

    /// Writes a diffusers folder: the network, and everything it came with as it was. Adapters are written as a LoRA file
    /// that diffusers loads. Where there is an average of the weights, it is what is written.
    fn export(&self, folder: &Path) -> Result<(), BoxError> {
        let average: BTreeMap<String, Tensor> = match self.learning.as_ref().and_then(|learning| learning.ema.as_ref())
        {
            Some(ema) => ema.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect(),
            None => BTreeMap::new(),
        };
        let parameters = &self.unet.parameters;
        let current = |name: &str| average.get(name).cloned().or_else(|| Some(parameters.find(name)?.detach()));
        if let Some(lora) = &self.unet.lora {
            let adapters =
                parameters.trainable().filter_map(|(name, _)| Some((name.to_owned(), current(name)?))).collect();
            return Ok(save_unet_lora(folder, &self.companions.name, lora, &adapters)?);
        }
        let tensors = parameters.iter().filter_map(|(name, _)| Some((name.to_owned(), current(name)?))).collect();
        let write = |path: &Path| save_unet(path, &self.unet.config, &tensors, self.companions.save);
        match self.companions.folder.as_ref().filter(|folder| folder.pipeline.is_some()) {
            Some(companions) => companions.save(folder, write)?,
            None => write(folder)?,
        }
        if let Some(scheduler) = &self.companions.scheduler {
            let path = folder.join("scheduler");
            let file = path.join("scheduler_config.json");
            std::fs::create_dir_all(&path).map_err(|e| ModelError::io(&path, e))?;
            std::fs::write(&file, scheduler).map_err(|e| ModelError::io(&file, e))?;
        }
        Ok(())
    }

    fn fingerprint(&self) -> Result<String, BoxError> {
        Ok(self.hash()?)
    }
}
