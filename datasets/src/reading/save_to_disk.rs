//! Folders written by `save_to_disk` of `datasets`: Arrow files and their metadata, one folder per split.
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::DatasetError;

/// The file that lists a folder's splits.
const SPLITS: &str = "dataset_dict.json";

/// The file that lists a split's data files.
const STATE: &str = "state.json";

/// Files with their splits, where these are known.
pub(super) type Parts = Vec<(Option<String>, PathBuf)>;

/// The files of a saved folder with their splits; `None` for other folders. Other Arrow files in it are caches of
/// `datasets`.
pub(super) fn files(folder: &Path) -> Result<Option<Parts>, DatasetError> {
    if folder.join(SPLITS).is_file() {
        let path = folder.join(SPLITS);
        let description = read(&path)?;
        let splits = description.get("splits").and_then(Value::as_array);
        let splits = splits.ok_or_else(|| broken(&path, "names no `splits`"))?;
        let mut files = Vec::new();
        for split in splits {
            let name = split
                .as_str()
                .filter(|name| is_plain(name))
                .ok_or_else(|| broken(&path, "has a split without a name"))?;
            let part = of_split(&folder.join(name))?;
            files.extend(part.into_iter().map(|file| (Some(name.to_owned()), file)));
        }
        return Ok(Some(files));
    }
    if !folder.join(STATE).is_file() || !folder.join("dataset_info.json").is_file() {
        return Ok(None);
    }
    Ok(Some(of_split(folder)?.into_iter().map(|file| (None, file)).collect()))
}

/// The files of one split, in row order.
fn of_split(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let path = folder.join(STATE);
    let state = read(&path)?;
    check_shown(folder, &path, &state)?;
    let files = state.get("_data_files").and_then(Value::as_array);
    let files = files.ok_or_else(|| broken(&path, "names no `_data_files`"))?;
    let name = |file: &Value| {
        file.get("filename").and_then(Value::as_str).filter(|name| is_plain(name)).map(|name| folder.join(name))
    };
    files.iter().map(|file| name(file).ok_or_else(|| broken(&path, "names a file that is not in its folder"))).collect()
}

/// Refuses tables with columns hidden by `set_format`: `datasets` does not show them again on loading.
fn check_shown(folder: &Path, path: &Path, state: &Value) -> Result<(), DatasetError> {
    let Some(shown) = state["_format_columns"].as_array().filter(|_| state["_output_all_columns"] != true) else {
        return Ok(());
    };
    let info = folder.join("dataset_info.json");
    let info = if info.is_file() { read(&info)? } else { Value::Null };
    let all = info["features"].as_object().into_iter().flatten().map(|(name, _)| name);
    let hidden: Vec<&str> = all.filter(|name| !shown.iter().any(|known| known == *name)).map(String::as_str).collect();
    if hidden.is_empty() {
        return Ok(());
    }
    let message =
        format!("hides {} (`set_format`); save the data without them, or after `reset_format()`", hidden.join(", "));
    Err(broken(path, &message))
}

/// Whether a name has no path separators.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(std::path::Component::Normal(_)), None))
}

fn read(path: &Path) -> Result<Value, DatasetError> {
    let text = std::fs::read_to_string(path).map_err(|source| DatasetError::Io { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|error| broken(path, &format!("is broken JSON: {error}")))
}

fn broken(path: &Path, message: &str) -> DatasetError {
    DatasetError::Pairs { path: path.to_owned(), message: message.to_owned() }
}
