//! Which files a data argument means.
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::DatasetError;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is learned from.
    Train,
    /// What is looked at while learning.
    Validation,
    /// What is looked at once.
    Test,
}

impl Split {
    /// The split that a word names: `train`, `valid1`, `val`, `dev`, `test` and the like.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim_end_matches(|last: char| last.is_ascii_digit()).to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "validation" | "valid" | "val" | "dev" | "eval" => Some(Self::Validation),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    /// The split that a path names in any of its words.
    fn of_path(path: &Path) -> Option<Self> {
        path.to_str()?.split(|letter: char| !letter.is_alphanumeric()).find_map(Self::from_word)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl FromStr for Split {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        Self::from_word(name).ok_or_else(|| DatasetError::UnknownName {
            what: "split",
            name: name.to_owned(),
            known: "train, validation, test".to_owned(),
        })
    }
}

/// The files of `path`, sorted: the file itself, or those in a folder and its folders that hold data.
///
/// Where files or folders are named after splits (`train-00000-of-00002.parquet`, `validation/0.jsonl`) and one split
/// is wanted, the others are left out.
///
/// # Errors
/// The path cannot be read, or holds no such file.
pub fn shards(path: &Path, split: Option<Split>) -> Result<Vec<PathBuf>, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    walk(path, &mut files)?;
    files.sort();
    let split_of = |file: &PathBuf| Split::of_path(file.strip_prefix(path).unwrap_or(file));
    let mut wanted = "file of records (.jsonl, .json, either with .gz, or .parquet)".to_owned();
    if let Some(split) = split
        && files.iter().any(|file| split_of(file).is_some())
    {
        files.retain(|file| split_of(file) == Some(split));
        wanted = format!("file of the split `{}`", split.name());
    }
    if files.is_empty() {
        return Err(DatasetError::NoShards { path: path.to_owned(), wanted });
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    let io = |source| DatasetError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link to a folder is not followed, so that no loop of links is.
        if entry.file_type().map_err(io)?.is_dir() {
            walk(&path, files)?;
        } else if holds_records(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn holds_records(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    // A data folder of the Hub has a description beside its shards.
    let is_description = matches!(name.as_str(), "dataset_info.json" | "dataset_infos.json" | "state.json");
    [".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet"].iter().any(|end| name.ends_with(end)) && !is_description
}
