//! Locates adapters and their settings: diffusers' file with its header, or PEFT's folder of two files.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::names::PREFIXES;
use crate::ModelError;
use crate::formats::extras::read_object;
use crate::formats::lora_settings::Settings;
use crate::formats::resolve;
use crate::weights_file::WeightsFile;

/// diffusers' name of an adapter file.
pub(super) const FILE: &str = "pytorch_lora_weights.safetensors";
/// The header key of PEFT's settings.
pub(super) const SETTINGS: &str = "lora_adapter_metadata";
/// PEFT's two files.
const PEFT_FILE: &str = "adapter_model.safetensors";
const PEFT_CONFIG: &str = "adapter_config.json";

/// Whether a path names adapters: diffusers' or PEFT's file, or a folder (or a run) with one.
pub fn is_denoiser_lora(path: &Path) -> bool {
    let path = resolve(path);
    let is_named = path.file_name().is_some_and(|name| name == FILE || name == PEFT_FILE);
    (is_named && path.is_file()) || path.join(FILE).is_file() || path.join(PEFT_CONFIG).is_file()
}

/// An open adapter file, with its settings if there are any.
pub(super) struct Source {
    pub(super) file: WeightsFile,
    pub(super) settings: Option<Settings>,
    /// Whether settings are in a separate file, as in PEFT's folders, rather than in the header.
    pub(super) is_pefts: bool,
}

impl Source {
    /// Opens the adapters at a path: a file, a folder of diffusers or PEFT, or a run.
    ///
    /// # Errors
    /// No such file, a damaged one, or unsupported settings.
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let path = resolve(path);
        let (weights, config) = places(&path)?;
        let file = WeightsFile::open(&weights)?;
        let is_pefts = config.is_some();
        let settings = match config {
            Some(config) => Some(Settings::of(&config, &read_object(&config)?)?),
            None => header_settings(&weights, file.metadata().get(SETTINGS))?,
        };
        Ok(Self { file, settings, is_pefts })
    }
}

/// The weight file, and the settings file if they are not in its header.
fn places(path: &Path) -> Result<(PathBuf, Option<PathBuf>), ModelError> {
    if !path.is_dir() {
        // PEFT's weights need the settings beside them.
        let config = path.with_file_name(PEFT_CONFIG);
        let is_pefts = path.file_name().is_some_and(|name| name == PEFT_FILE) && config.is_file();
        return Ok((path.to_path_buf(), is_pefts.then_some(config)));
    }
    let (diffusers, config) = (path.join(FILE), path.join(PEFT_CONFIG));
    match (diffusers.is_file(), config.is_file()) {
        (true, false) => Ok((diffusers, None)),
        (false, true) if path.join(PEFT_FILE).is_file() => Ok((path.join(PEFT_FILE), Some(config))),
        (true, true) => {
            let reason = format!("both {FILE} and {PEFT_CONFIG} are here; name the file of adapters that is meant");
            Err(ModelError::format(path, reason))
        }
        (false, _) => Err(ModelError::format(path, nothing_here(path))),
    }
}

fn nothing_here(path: &Path) -> String {
    let pickles = ["pytorch_lora_weights.bin", "adapter_model.bin"];
    match pickles.iter().find(|name| path.join(name).is_file()) {
        Some(pickle) => format!("only {pickle}, a Python pickle, which is not read; save the adapter as safetensors"),
        None => format!("no adapters of a denoiser: {FILE}, or {PEFT_CONFIG} with {PEFT_FILE}, is expected"),
    }
}

/// PEFT's settings of the network in a header, if present.
///
/// Pipelines write the settings of all their components, each key prefixed by the component's name; a network alone
/// (`unet.save_lora_adapter`) writes its own without a prefix.
fn header_settings(path: &Path, text: Option<&String>) -> Result<Option<Settings>, ModelError> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |e: &serde_json::Error| ModelError::format(path, format!("broken `{SETTINGS}` in the header: {e}"));
    let all: Map<String, Value> = serde_json::from_str(text).map_err(|e| wrong(&e))?;
    let of = |part: &dyn Fn(&str) -> Option<String>| -> Map<String, Value> {
        all.iter().filter_map(|(key, value)| Some((part(key)?, value.clone()))).collect()
    };
    let in_component = |key: &str| PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix)).map(str::to_owned);
    let mut settings = of(&in_component);
    if settings.is_empty() {
        settings = of(&|key| (!key.contains('.')).then(|| key.to_owned()));
    }
    if settings.is_empty() {
        return Ok(None);
    }
    settings.entry("peft_type").or_insert_with(|| json!("LORA"));
    Settings::of(path, &Value::Object(settings)).map(Some)
}
