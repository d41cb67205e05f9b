//! Writing a folder with a new denoiser and everything else as it was.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::DiffusersFolder;
use crate::ModelError;
use crate::formats::staging::Staging;

/// Ends of files that hold the same weights for other software.
const OTHER_WEIGHTS: [&str; 7] = [".bin", ".ckpt", ".msgpack", ".h5", ".onnx", ".pb", ".pt"];

impl DiffusersFolder {
    /// Writes a folder that diffusers loads whole: this one with another denoiser, which `write_unet` writes into the
    /// path that it is given. A UNet alone is written alone, with the scheduler if there is one.
    ///
    /// The folder is written beside its place and renamed, so it is there whole or not at all.
    ///
    /// # Errors
    /// The system refuses to read or write, or `write_unet` fails.
    pub fn save(
        &self,
        target: &Path,
        write_unet: impl FnOnce(&Path) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let staging = Staging::new(target)?;
        write_unet(&staging.path("unet"))?;
        if self.pipeline.is_none() {
            if let Some(scheduler) = self.part("scheduler") {
                copy(&scheduler.path, &staging.path("scheduler"))?;
            }
            return staging.publish();
        }
        let mut index = self.index.clone();
        let listed: Vec<String> = self.listed().filter(|name| name != "unet").collect();
        for name in listed {
            let source = self.path.join(&name);
            if source.is_dir() {
                copy(&source, &staging.path(&name))?;
            } else {
                forget(&mut index, &name);
            }
        }
        staging.write("model_index.json", format!("{index:#}\n").as_bytes())?;
        staging.publish()
    }

    /// The parts that the index lists, those that are not looked at too.
    fn listed(&self) -> impl Iterator<Item = String> {
        let entries = self.index.as_object().into_iter().flatten();
        // Only a bare name may be meant: anything else would read outside the folder.
        let is_name = |name: &str| Path::new(name).file_name().is_some_and(|file| file == name);
        entries.filter(move |(name, value)| value[1].is_string() && is_name(name)).map(|(name, _)| name.clone())
    }
}

/// Takes an optional part that is not there out of the index, which would not load with it.
fn forget(index: &mut Value, name: &str) {
    index[name] = json!([null, null]);
    if name == "safety_checker" {
        index["requires_safety_checker"] = json!(false);
    }
}

/// The names of a folder's files, in order; folders in it are not looked into.
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

/// Copies a part, without weights for other software.
///
/// Weights that are there in half precision only get the name under which they are looked for.
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
        fs::copy(&from, &to).map_err(|e| ModelError::io(&from, e))?;
    }
    Ok(())
}
