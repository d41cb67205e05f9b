//! Diffusers folders: a denoiser with its other components.

mod dit;
mod fit;
mod index;
mod save;
mod texts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde_json::Value;

use super::denoiser_lora::DenoiserLora;
use super::extras::read_object;
use super::{
    LanguageEncoder, load_clip_tokenizer_as, load_t5, load_t5_tokenizer, load_vae, read_denoiser_config, resolve,
};
use crate::ModelError;
use crate::clip::{TextConditioner, TextFeatures};
use crate::denoiser::DenoiserConfig;
use crate::vae::Vae;

/// The accepted kinds of paths, for messages.
const ACCEPTED: &str = "accepted: a diffusers folder (model_index.json), its unet/ or transformer/ alone (config.json of \
                        a network that is built), or a run folder";

/// The names of networks that denoise among the components.
const DENOISERS: [&str; 2] = ["unet", "transformer"];

/// A validated diffusers folder: its components exist, are of supported classes, and fit each other.
///
/// Weights are loaded on demand, so a denoiser trained on latents loads no text encoder.
#[derive(Clone, Debug)]
pub struct DiffusersFolder {
    /// The folder.
    pub path: PathBuf,
    /// The class of its pipeline; `None` for a standalone network.
    pub pipeline: Option<String>,
    parts: BTreeMap<String, Component>,
    index: Value,
    /// A file with adapters of its text encoders, if one was added.
    adapters: Option<Arc<DenoiserLora>>,
}

/// A component of a diffusers folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its class.
    pub class: String,
    /// Its folder.
    pub path: PathBuf,
}

impl DiffusersFolder {
    /// Whether a path looks like a denoiser rather than a language model.
    pub fn is_one(path: &Path) -> bool {
        let path = resolve(path);
        let has_index = path.join("model_index.json").is_file();
        has_index
            || index::class_of(&path).is_some_and(|class| index::is_denoiser_class(&class))
            || DENOISERS.iter().any(|name| path.join(name).join("config.json").is_file())
    }

    /// Validates a folder. A run folder resolves to its `model/`.
    ///
    /// # Errors
    /// A path of no accepted kind, missing sub-folders, unsupported classes, and components whose widths do not fit;
    /// the message names them.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        if !path.exists() {
            return Err(ModelError::format(path, format!("not found; {ACCEPTED}")));
        }
        let path = resolve(path);
        let folder = if path.join("model_index.json").is_file() {
            let index = read_object(&path.join("model_index.json"))?;
            let (pipeline, parts) = index::parts(&path, &index)?;
            Self { path, pipeline: Some(pipeline), parts, index, adapters: None }
        } else {
            let parts = index::parts_without_index(&path)?;
            Self { path, pipeline: None, parts, index: Value::Null, adapters: None }
        };
        fit::check(&folder)?;
        Ok(folder)
    }

    /// A network alone, without a folder of diffusers.
    pub fn bare(path: &Path) -> Self {
        Self { path: path.to_path_buf(), pipeline: None, parts: BTreeMap::new(), index: Value::Null, adapters: None }
    }

    /// A component by name, if present: `unet`, `transformer`, `vae`, `text_encoder`, `scheduler`, ..
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.parts.get(name)
    }

    /// All components by name.
    pub fn components(&self) -> impl Iterator<Item = (&str, &Component)> {
        self.parts.iter().map(|(name, part)| (name.as_str(), part))
    }

    /// The denoiser's folder.
    pub fn denoiser(&self) -> &Path {
        DENOISERS.iter().find_map(|name| self.component(name)).map_or(&self.path, |part| &part.path)
    }

    /// Reads the denoiser's config.
    ///
    /// # Errors
    /// As [`read_denoiser_config`].
    pub fn config(&self) -> Result<DenoiserConfig, ModelError> {
        read_denoiser_config(self.denoiser())
    }

    /// Loads the autoencoder; `None` for a pixel-space or standalone denoiser.
    ///
    /// # Errors
    /// As [`load_vae`].
    pub fn vae(&self, device: &Device) -> Result<Option<Vae>, ModelError> {
        let Some(part) = self.component("vae") else { return Ok(None) };
        let vae = load_vae(&part.path, device)?;
        Ok(Some(match self.pipeline.as_deref() {
            Some("StableDiffusionXLPipeline") => vae.normalised(),
            Some(index::SD3_PIPELINE | index::FLUX_PIPELINE | index::ZIMAGE_PIPELINE) => vae.shifted(),
            _ => vae,
        }))
    }

    /// Loads the language model that encodes prompts, with its tokenizer; `None` if this is no pipeline of one.
    ///
    /// Its chat template frames prompts: see [`LanguageEncoder::with_framing`].
    ///
    /// # Errors
    /// Files that are missing or damaged, a model or tokenizer that is not supported, more tokens than the model has.
    pub fn language_encoder(&self, device: &Device) -> Result<Option<LanguageEncoder>, ModelError> {
        let parts = (self.component("text_encoder"), self.component("tokenizer"));
        match (self.pipeline.as_deref(), parts) {
            (Some(index::ZIMAGE_PIPELINE), (Some(encoder), Some(tokenizer))) => {
                LanguageEncoder::load(&encoder.path, &tokenizer.path, device).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Loads the tokenizers and text encoders; `None` if there are none, or a language model is in their place.
    ///
    /// # Errors
    /// As [`load_clip_tokenizer_as`], [`load_clip_text`](super::load_clip_text), [`load_t5`] and [`TextConditioner::new`].
    pub fn conditioner(&self, device: &Device) -> Result<Option<TextConditioner>, ModelError> {
        if let Some(own) = dit::conditioner(self, device)? {
            return Ok(Some(own));
        }
        if self.pipeline.as_deref() == Some(index::ZIMAGE_PIPELINE) {
            return Ok(None);
        }
        if self.pipeline.as_deref() == Some(index::FLUX_PIPELINE) {
            return self.flux_conditioner(device);
        }
        let mut encoders = Vec::new();
        for end in ["", "_2"] {
            let name = format!("text_encoder{end}");
            if let (Some(tokenizer), Some(encoder)) =
                (self.component(&format!("tokenizer{end}")), self.component(&name))
            {
                let words = load_clip_tokenizer_as(&tokenizer.class, &tokenizer.path)?;
                encoders.push((words, self.clip(&name, &encoder.path, device)?));
            }
        }
        let reading = match encoders.len() {
            0 => return Ok(None),
            _ if self.pipeline.as_deref() == Some(index::SD3_PIPELINE) => {
                let config = read_object(&self.denoiser().join("config.json"))?;
                let width = config["joint_attention_dim"].as_u64().unwrap_or(0) as usize;
                TextFeatures::Joint { width, more_rows: index::T5_LENGTH }
            }
            1 => TextFeatures::Last,
            _ => {
                // Null is false in Python.
                let given = self.index.get("force_zeros_for_empty_prompt");
                let zeros_for_none = given.is_none_or(|given| given.as_bool().unwrap_or(false));
                TextFeatures::Penultimate { zeros_for_none }
            }
        };
        let conditioner = TextConditioner::new(encoders, reading)?;
        match (self.component("tokenizer_3"), self.component("text_encoder_3")) {
            (Some(tokenizer), Some(encoder)) => {
                conditioner.with_t5(load_t5_tokenizer(&tokenizer.path)?, load_t5(&encoder.path, device)?).map(Some)
            }
            _ => Ok(Some(conditioner)),
        }
    }

    /// FLUX.1's encoders: CLIP's pooled state, and T5 as the second one.
    fn flux_conditioner(&self, device: &Device) -> Result<Option<TextConditioner>, ModelError> {
        let parts = ["tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"].map(|name| self.component(name));
        let [Some(tokenizer), Some(encoder), Some(tokenizer_2), Some(encoder_2)] = parts else { return Ok(None) };
        let words = load_clip_tokenizer_as(&tokenizer.class, &tokenizer.path)?;
        let t5 = load_t5(&encoder_2.path, device)?;
        let reading = TextFeatures::PooledAndT5 { width: t5.config().width, rows: index::FLUX_T5_LENGTH };
        let conditioner =
            TextConditioner::new(vec![(words, self.clip("text_encoder", &encoder.path, device)?)], reading)?;
        conditioner.with_t5(load_t5_tokenizer(&tokenizer_2.path)?, t5).map(Some)
    }

    /// A hash of all files of the named components, for cache keys.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn fingerprint(&self, names: &[&str]) -> Result<String, ModelError> {
        let mut hasher = blake3::Hasher::new();
        for (name, part) in self.components().filter(|(name, _)| names.contains(name)) {
            for file in save::files(&part.path)? {
                let path = part.path.join(&file);
                hasher.update(format!("{name}/{file}\n").as_bytes());
                let opened = std::fs::File::open(&path).map_err(|e| ModelError::io(&path, e))?;
                let before = hasher.count();
                hasher.update_reader(opened).map_err(|e| ModelError::io(&path, e))?;
                hasher.update(&(hasher.count() - before).to_le_bytes());
            }
            if let Some(adapters) = &self.adapters
                && let Some(hash) = adapters.text_fingerprint(name)?
            {
                hasher.update(hash.as_bytes());
            }
        }
        // Names of classes tell what a text means as a tokenizer does.
        if !self.index["id2label"].is_null() {
            hasher.update(self.index["id2label"].to_string().as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}
