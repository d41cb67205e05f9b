//! Models on disk: Hugging Face folders, GGUF files, llama2.c files, PEFT adapters.
//!
//! [`load`] looks at what a path is and reads it into [`ModelFiles`]: a checked configuration, every tensor of the
//! architecture under its Hugging Face name as f32, and the tokenizer with its chat template. Whatever the format, the
//! result can be saved with [`save_huggingface`] as a folder that transformers loads.
//!
//! Headers are believed only as far as the file bears them out, so a damaged file is an error that names what is wrong,
//! never a crash and never a huge allocation.

mod extras;
mod file;
mod gguf;
mod huggingface;
mod rows;
mod safetensors;
mod save;
mod staging;
mod tokenizer;
mod vocabulary;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

pub use extras::Extras;
pub use save::{SaveOptions, save_huggingface};
pub use tokenizer::ModelTokenizer;

use crate::PolicyError;
use crate::causal::CausalConfig;

/// A causal language model as read from disk.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// Where it was read from.
    pub path: PathBuf,
    /// The checked configuration.
    pub config: CausalConfig,
    /// Every tensor of the architecture, f32, under its Hugging Face name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The tokenizer, where there is one.
    pub tokenizer: Option<ModelTokenizer>,
    /// Files to carry over when the model is saved.
    pub extras: Extras,
}

impl ModelFiles {
    /// Returns the tokenizer.
    ///
    /// # Errors
    /// [`PolicyError::NoTokenizer`] when the model came without one.
    pub fn tokenizer(&self) -> Result<&ModelTokenizer, PolicyError> {
        self.tokenizer.as_ref().ok_or_else(|| PolicyError::NoTokenizer { path: self.path.clone() })
    }

    /// The tokens that end a text: the tokenizer's, or those of the configuration where there is no tokenizer.
    pub fn eos(&self) -> &[u32] {
        self.tokenizer.as_ref().map_or(&self.config.eos, |t| &t.eos)
    }
}

/// What [`load`] reads, for messages.
const ACCEPTED: &str = "accepted: a Hugging Face folder (config.json and safetensors)";

/// Loads a model from whatever the path is.
///
/// # Errors
/// A path that is not there or is none of the accepted kinds, and everything that can be wrong inside.
pub fn load(path: &Path, device: &Device) -> Result<ModelFiles, PolicyError> {
    let folder = resolve(path);
    if folder.join("config.json").is_file() {
        return huggingface::load(&folder, device);
    }
    if begins_with(path, b"GGUF")? {
        return gguf::load(path, device);
    }
    if !path.exists() {
        return Err(PolicyError::format(path, format!("not found; {ACCEPTED}")));
    }
    Err(PolicyError::format(path, format!("not a model; {ACCEPTED}")))
}

/// A run folder stands for the model it holds.
fn resolve(path: &Path) -> PathBuf {
    let model = path.join("model");
    if path.join("config.toml").is_file() && model.is_dir() { model } else { path.to_path_buf() }
}

/// Whether a file begins so; a folder or a path that isn't there doesn't.
fn begins_with(path: &Path, magic: &[u8]) -> Result<bool, PolicyError> {
    if !path.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| PolicyError::io(path, e))?;
    file.take(magic.len() as u64).read_to_end(&mut start).map_err(|e| PolicyError::io(path, e))?;
    Ok(start == magic)
}
