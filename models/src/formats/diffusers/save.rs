//! Saves a diffusers folder with a new denoiser and copies of its other components.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::DiffusersFolder;
use crate::ModelError;
use crate::formats::staging::Staging;

/// Suffixes of files with the same weights for other software.
const OTHER_WEIGHTS: [&str; 7] = [".bin", ".ckpt", ".msgpack", ".h5", ".onnx", ".pb", ".pt"];

impl DiffusersFolder {
    /// Writes a folder that diffusers loads whole: this one with another denoiser, which `write_denoiser` writes to the
    /// path it receives, in the folder `component`. A standalone network is written alone, with its scheduler if there is one.
    ///
    /// The write is atomic: a staging folder beside the target is renamed.
    ///
    /// # Errors
    /// An I/O error, or `write_denoiser` fails.
    pub fn save(
        &self,
        target: &Path,
        component: &str,
        write_denoiser: impl FnOnce(&Path) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let staging = Staging::new(target)?;
        write_denoiser(&staging.path(component))?;
        if self.pipeline.is_none() {
            if let Some(scheduler) = self.component("scheduler") {
                copy(&scheduler.path, &staging.path("scheduler"))?;
            }
            return staging.publish();
        }
        let mut index = self.index.clone();
        let listed: Vec<String> = self.listed().filter(|name| name != component).collect();
        for name in listed {
            let source = self.path.join(&name);
            if source.is_dir() {
                copy(&source, &staging.path(&name))?;
                if self.is_adapted(&name) {
                    self.write_adapted(&name, &staging.path(&name))?;
                }
            } else {
                forget(&mut index, &name);
            }
        }
        staging.write("model_index.json", format!("{index:#}\n").as_bytes())?;
        staging.publish()
    }

    /// The components in the index, including those that are not loaded.
    fn listed(&self) -> impl Iterator<Item = String> {
        let entries = self.index.as_object().into_iter().flatten();
        // Only bare names are accepted: others would read outside the folder.
        let is_name = |name: &str| Path::new(name).file_name().is_some_and(|file| file == name);
        entries.filter(move |(name, value)| value[1].is_string() && is_name(name)).map(|(name, _)| name.clone())
    }
}

/// Removes a missing optional component from the index, which would not load with it.
fn forget(index: &mut Value, name: &str) {
    index[name] = json!([null, null]);
    if name == "safety_checker" {
        index["requires_safety_checker"] = json!(false);
    }
}

/// The sorted names of a folder's files, without subfolders.
pub(super) fn files(folder: &Path) -> Result<Vec<String>, ModelError> {
    let entries = fs::read_dir(folder).map_err(|e| ModelError::io(folder, e))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| ModelError::io(folder, e))?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Copies a component without weights for other software.
///
/// Weights that exist only in half precision get the default file name.
fn copy(source: &Path, target: &Path) -> Result<(), ModelError> {
    fs::create_dir(target).map_err(|e| ModelError::io(target, e))?;
    let names = files(source)?;
    let has_weights = names.iter().any(|name| name.ends_with(".safetensors"));
    for name in &names {
        if has_weights && OTHER_WEIGHTS.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let plain = name.replace(".fp16.safetensors", ".safetensors");
        if plain != *name && names.contains(&plain) {
            continue;
        }
        let (from, to) = (source.join(name), target.join(&plain));
        let mut source = fs::File::open(&from).map_err(|e| ModelError::io(&from, e))?;
        let copied = fs::File::create(&to).and_then(|mut file| std::io::copy(&mut source, &mut file));
        copied.map_err(|e| ModelError::io(&to, e))?;
    }
    Ok(())
}
