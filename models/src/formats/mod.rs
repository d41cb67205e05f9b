//! Models on disk: Hugging Face folders, GGUF files, llama2.c files, PEFT adapters.
//!
//! [`load`] detects the kind of a path and reads it into [`ModelFiles`]: a validated config, every tensor of the
//! architecture under its Hugging Face name as f32, and the tokenizer with its chat template. From any format, the
//! result can be saved with [`save_huggingface`] as a folder that transformers loads. [`ModelFiles::frozen`] and
//! [`ModelFiles::trainable`] make a model of it with the matching exporter.
//!
//! Headers are validated against the file, so a damaged file gives an error that names the problem, never a panic or a
//! huge allocation.

mod clip;
mod clip_tokenizer;
mod component;
mod denoiser;
mod denoiser_lora;
mod diffusers;
mod export;
mod extras;
mod files;
mod gaussian;
mod gguf;
mod huggingface;
mod language_encoder;
mod llama2c;
mod lora_fields;
mod lora_settings;
mod lora_targets;
mod made;
mod peft;
mod peft_merge;
mod rows;
mod save;
mod staging;
mod stored_types;
mod t5;
mod text_part;
mod tokenizer;
mod tokenizer_json;
mod tokenizer_patterns;
mod vae;
mod vocabulary;

use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::Device;

pub use clip::{is_clip_score, load_clip_score, load_clip_text};
pub use clip_tokenizer::{load_clip_tokenizer, load_clip_tokenizer_as};
pub use denoiser::{DenoiserFiles, load_denoiser, read_denoiser_config, save_denoiser};
pub use denoiser_lora::{
    DenoiserLora, denoiser_lora_base, is_denoiser_lora, load_denoiser_lora, merge_denoiser_lora, save_denoiser_lora,
};
pub use diffusers::{Component, DiffusersFolder};
pub use export::{DiffusersExport, HuggingFaceExport};
pub use extras::Extras;
pub use files::{Holding, ModelFiles};
pub use gaussian::{load_gaussian, load_gaussian_to_train, save_gaussian};
pub use huggingface::{is_reward, load_reward};
pub use language_encoder::LanguageEncoder;
pub use lora_settings::{LoraLayer, TrainedLora};
pub use peft::{PeftAdapter, load_peft, save_peft};
pub use peft_merge::merge_peft;
pub use save::{SaveOptions, save_huggingface};
pub use stored_types::convert_component;
pub use t5::{load_t5, load_t5_tokenizer};
pub use tokenizer::ModelTokenizer;
pub use vae::load_vae;

use crate::ModelError;
use crate::causal::CausalConfig;

/// The kinds of paths that [`load`] reads, for messages.
const ACCEPTED: &str = "accepted: a Hugging Face folder (config.json and safetensors), a .gguf file, a llama2.c .bin \
                        file, a run folder, or BASE+ADAPTER with a PEFT folder";

fn explain_missing(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.match_indices('+').find(|(at, _)| Path::new(&text[..*at]).exists()) {
        Some((at, _)) => format!(
            "`{}` is there, but `{}` is not a PEFT folder (no adapter_config.json)",
            &text[..at],
            &text[at + 1..]
        ),
        None => format!("not found; {ACCEPTED}"),
    }
}

/// Loads a model from a path of any accepted kind.
///
/// A run folder resolves to its `model/`. `base+adapter` is a model with a PEFT adapter merged into its weights; so is
/// a PEFT folder alone if its `base_model_name_or_path` is an existing path.
///
/// # Errors
/// A missing path, a path of no accepted kind, and all errors of its files.
pub fn load(path: &Path, device: &Device) -> Result<ModelFiles, ModelError> {
    load_held(path, device, Holding::F32)
}

/// Loads a model as [`load`] does, its quantised weights held in a given form.
///
/// # Errors
/// As [`load`].
pub fn load_held(path: &Path, device: &Device, holding: Holding) -> Result<ModelFiles, ModelError> {
    if !path.exists() {
        return match split_adapter(path) {
            Some((base, adapter)) => load_adapted(&base, &adapter, device, holding),
            None => Err(ModelError::format(path, explain_missing(path))),
        };
    }
    if path.is_dir() { load_folder(&resolve(path), device, holding) } else { load_file(path, device, holding) }
}

fn load_folder(folder: &Path, device: &Device, holding: Holding) -> Result<ModelFiles, ModelError> {
    if folder.join("config.json").is_file() {
        return huggingface::load(folder, device);
    }
    if peft::is_adapter(folder) {
        let base = peft::base_of(folder)?.unwrap_or_default();
        // An adapter that names itself would recurse for ever.
        if !base.is_empty() && Path::new(&base).exists() && !peft::is_adapter(Path::new(&base)) {
            return load_adapted(Path::new(&base), folder, device, holding);
        }
        let reason = format!("a PEFT adapter whose base `{base}` is not a path here; name both, as in BASE+ADAPTER");
        return Err(ModelError::format(folder, reason));
    }
    let reason = if folder.join("config.toml").is_file() && folder.join("checkpoints").is_dir() {
        let run = folder.display();
        format!("a run that has not finished, so there is no model/ yet; go on with: `recipes::train` `resume` {run}")
    } else if folder.join("model_index.json").is_file() {
        format!("a diffusers folder, not a language model; {ACCEPTED}")
    } else if let [file, ..] = &gguf_files(folder)[..] {
        format!("no config.json; the model in it is a file: name {}", file.display())
    } else {
        format!("no config.json, so not a model; {ACCEPTED}")
    };
    Err(ModelError::format(folder, reason))
}

/// The GGUF files in a folder, sorted.
pub fn gguf_files(folder: &Path) -> Vec<PathBuf> {
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("gguf"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_gguf).collect();
    files.sort();
    files
}

fn load_file(path: &Path, device: &Device, holding: Holding) -> Result<ModelFiles, ModelError> {
    let start = first_bytes(path)?;
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match extension.as_str() {
        _ if start == *b"GGUF" || extension == "gguf" => gguf::load(path, device, holding),
        // PyTorch files are zip archives.
        _ if start == *b"PK\x03\x04" => {
            let reason = "a PyTorch pickle, which is not read; save the model again with transformers, as safetensors";
            Err(ModelError::format(path, reason))
        }
        "bin" => llama2c::load(path, device),
        "safetensors" => Err(ModelError::format(path, "weights alone are not a model; name the folder they are in")),
        _ if llama2c::looks_like(path) => llama2c::load(path, device),
        _ => Err(ModelError::format(path, format!("not a model; {ACCEPTED}"))),
    }
}

/// The base that an adapter names; `None` if the path is no adapter folder or run.
///
/// # Errors
/// An unreadable adapter config.
pub fn adapter_base(path: &Path) -> Result<Option<String>, ModelError> {
    let folder = resolve(path);
    if folder.join("config.json").is_file() || !peft::is_adapter(&folder) { Ok(None) } else { peft::base_of(&folder) }
}

/// Loads a base with an adapter.
fn load_adapted(base: &Path, adapter: &Path, device: &Device, holding: Holding) -> Result<ModelFiles, ModelError> {
    add_adapter(load_held(base, device, holding)?, base, adapter, device)
}

/// Merges the adapter in a PEFT folder or a run into the weights of `files`, whose name is `base`. An adapter stays beside
/// weights in blocks, and beside a layer without the bias that it has.
///
/// # Errors
/// An unreadable adapter, or one of another model.
pub fn add_adapter(
    mut files: ModelFiles,
    base: &Path,
    adapter: &Path,
    device: &Device,
) -> Result<ModelFiles, ModelError> {
    let (folder, lora) = (resolve(adapter), load_adapter(adapter, &files.config, device)?);
    peft_merge::check_fits(&folder, &lora, &files)?;
    let stays_apart = !files.quantised.is_empty() || lora.layer_without_bias(&files.tensors).is_some();
    let trained = if stays_apart && files.adapters.is_none() { lora.trained(&files.config).ok() } else { None };
    if trained.is_some() {
        files.adapters = trained;
    } else {
        files = files.merged()?;
        peft_merge::grow(&folder, &lora, &mut files.config, &mut files.tensors)?;
        merge_peft(&lora, &mut files.config, &mut files.tensors)?;
    }
    // The adapter was trained with the tokenizer that was saved beside it.
    if files.extras.take_tokenizer_of(&Extras::read(&folder)?) {
        files.tokenizer = ModelTokenizer::of_its_own(&folder, &files.extras, Some(&files.config))?;
        if let Some(tokenizer) = &files.tokenizer {
            tokenizer.agree(&folder, &mut files.config, &mut files.extras)?;
        }
    }
    files.path = PathBuf::from(format!("{}+{}", base.display(), adapter.display()));
    Ok(files)
}

/// Loads the adapter in a PEFT folder or a run, for a model of this config.
///
/// # Errors
/// As [`load_peft`].
pub fn load_adapter(adapter: &Path, config: &CausalConfig, device: &Device) -> Result<PeftAdapter, ModelError> {
    load_peft(&resolve(adapter), config, device)
}

/// Splits `base+adapter` if both exist; either may contain a `+`.
pub fn split_adapter(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let text = path.to_str()?;
    text.match_indices('+')
        .map(|(at, _)| (PathBuf::from(&text[..at]), PathBuf::from(&text[at + 1..])))
        .find(|(base, adapter)| base.exists() && peft::is_adapter(&resolve(adapter)))
}

/// Resolves a run folder to its model folder.
fn resolve(path: &Path) -> PathBuf {
    let model = path.join("model");
    if path.join("config.toml").is_file() && model.is_dir() { model } else { path.to_path_buf() }
}

/// The first four bytes of a file, fewer if it is shorter.
fn first_bytes(path: &Path) -> Result<Vec<u8>, ModelError> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| ModelError::io(path, e))?;
    file.take(4).read_to_end(&mut start).map_err(|e| ModelError::io(path, e))?;
    Ok(start)
}

#[cfg(test)]
mod tests;
