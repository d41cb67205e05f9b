//! Text encoders of a folder, with the adapters that a LoRA file holds for them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::DiffusersFolder;
use crate::ModelError;
use crate::clip::ClipText;
use crate::formats::clip::{STEM, read_clip_text};
use crate::formats::component::stored_type;
use crate::formats::denoiser_lora::DenoiserLora;
use crate::formats::save::write_safetensors;
use crate::weights_file::WeightsFile;

impl DiffusersFolder {
    /// Adds the adapters that a file has for text encoders: they are merged when the encoders are loaded, and when the
    /// folder is saved.
    ///
    /// # Errors
    /// Adapters of an encoder that is not here, or is not CLIP's.
    pub fn with_text_adapters(self, lora: &DenoiserLora) -> Result<Self, ModelError> {
        for name in lora.texts.keys() {
            let class = self.component(name).map(|part| part.class.as_str());
            if !class.is_some_and(|class| class.starts_with("CLIPTextModel")) {
                let here = class.map_or_else(|| "there is none".to_owned(), |class| format!("it is a {class}"));
                let reason = format!("adapters of CLIP as `{name}`, and in {} {here}", self.path.display());
                return Err(ModelError::format(&lora.path, reason));
            }
        }
        let adapters = (!lora.texts.is_empty()).then(|| Arc::new(lora.clone()));
        Ok(Self { adapters, ..self })
    }

    /// Loads a CLIP text encoder with its adapters.
    pub(super) fn clip(&self, name: &str, path: &Path, device: &Device) -> Result<ClipText, ModelError> {
        let (config, mut tensors) = read_clip_text(path, device)?;
        if let Some(lora) = &self.adapters {
            lora.merge_text(name, &mut tensors)?;
        }
        ClipText::new(config, tensors)
    }

    /// Whether a component has adapters.
    pub(super) fn is_adapted(&self, name: &str) -> bool {
        self.adapters.as_ref().is_some_and(|lora| lora.texts.contains_key(name))
    }

    /// Replaces the weights of a copied component by those with its adapters.
    pub(super) fn write_adapted(&self, name: &str, folder: &Path) -> Result<(), ModelError> {
        let Some(lora) = &self.adapters else { return Ok(()) };
        let path = folder.join(format!("{STEM}.safetensors"));
        if !path.is_file() {
            let reason =
                "weights in several files, into which no adapters are merged; save it with transformers as one";
            return Err(ModelError::format(folder, reason));
        }
        let dtype = stored_type(folder, STEM)?;
        let tensors = {
            let file = WeightsFile::open(&path)?;
            // Old files have a buffer that transformers leaves out.
            let names = file.entries().keys().filter(|stored| !stored.ends_with("position_ids")).cloned();
            let read = |stored: String| Ok((stored.clone(), file.read(&stored, &Device::Cpu)?));
            let mut tensors = names.map(read).collect::<Result<BTreeMap<String, Tensor>, ModelError>>()?;
            lora.merge_text(name, &mut tensors)?;
            tensors
        };
        let named: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        write_safetensors(&path, &named, dtype)
    }
}
