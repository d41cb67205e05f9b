//! Resolves a data argument to files.
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::save_to_disk::{self, Parts};
use crate::error::DatasetError;

/// A split of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SplitChoice {
    /// The training split: `train`.
    Train,
    /// The held-out split: `validation` if there is one, else `test`, else everything.
    HeldOut,
    /// A split by its exact name, or by its kind: `validation` matches `valid1` and `dev`.
    Named(String),
}

/// A kind of split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitKind {
    /// Training data.
    Train,
    /// Validation data.
    Validation,
    /// Test data.
    Test,
}

impl SplitKind {
    /// The kind of split that a word names: `train`, `valid1`, `val`, `dev`, `test` and the like.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.trim_end_matches(|last: char| last.is_ascii_digit()).to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "validation" | "valid" | "val" | "dev" | "eval" => Some(Self::Validation),
            "test" => Some(Self::Test),
            _ => None,
        }
    }

    /// The kind of split that a word in a name names.
    fn of_name(name: &str) -> Option<Self> {
        name.split(|letter: char| !letter.is_alphanumeric()).find_map(Self::from_word)
    }
}

impl SplitChoice {
    /// Whether the split includes records of this kind.
    pub fn takes(&self, kind: SplitKind) -> bool {
        match self {
            Self::Train => kind == SplitKind::Train,
            Self::HeldOut => true,
            Self::Named(name) => SplitKind::of_name(name) == Some(kind),
        }
    }

    /// The kinds to use, in order of preference.
    fn kinds(&self) -> Vec<SplitKind> {
        match self {
            Self::Train => vec![SplitKind::Train],
            Self::HeldOut => vec![SplitKind::Validation, SplitKind::Test],
            // Only a word that names a kind and nothing else stands for all of it.
            Self::Named(name) => SplitKind::from_word(name).into_iter().collect(),
        }
    }
}

impl fmt::Display for SplitChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::HeldOut => "validation",
            Self::Named(name) => name,
        })
    }
}

/// The files to read.
#[derive(Debug)]
pub struct Shards {
    /// The files, sorted.
    pub files: Vec<PathBuf>,
    /// The split that is read and the splits available, if one was selected.
    pub part: Option<String>,
    /// Whether file or folder names mark them as the requested split.
    pub is_named: bool,
}

/// Finds the data files of `path`, sorted: the file itself, or those in a folder and its subfolders.
///
/// If files or folders are named after splits (`train-00000-of-00002.parquet`, `validation/0.jsonl`), or the folder was
/// saved by `datasets`, only the requested split is read. Of several splits of a kind (`train_prefs`, `train_sft`) the
/// one for preferences is used.
///
/// # Errors
/// The path can't be read, has no data file, does not have the split, or has several candidates.
pub fn shards(path: &Path, split: Option<&SplitChoice>) -> Result<Shards, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    let exact = match split {
        Some(SplitChoice::Named(name)) => Some(name.as_str()),
        _ => None,
    };
    if !fs::metadata(path).map_err(io)?.is_dir() {
        return match split.filter(|_| exact.is_some_and(|name| SplitKind::from_word(name).is_none())) {
            Some(split) => Err(no_such(path, split, &[])),
            None => Ok(Shards { files: vec![path.to_owned()], part: None, is_named: is_named(path, split) }),
        };
    }
    let mut files = if let Some(files) = save_to_disk::files(path)? {
        // A table without rows is saved without a file.
        if files.is_empty() {
            return Err(DatasetError::Empty { path: path.to_owned() });
        }
        files
    } else {
        let mut files = Vec::new();
        walk(path, &mut files)?;
        let part = |file: &PathBuf| part_of(file.strip_prefix(path).unwrap_or(file), exact);
        files.into_iter().map(|file| (part(&file), file)).collect()
    };
    files.sort_by(|first, second| first.1.cmp(&second.1));
    if files.is_empty() {
        let wanted =
            "file of records (.jsonl, .json, .csv or .tsv, each also with .gz or .zst, or .parquet)".to_owned();
        return Err(DatasetError::NoShards { path: path.to_owned(), wanted });
    }
    let chosen = split.map(|split| choose(path, split, &files)).transpose()?.flatten();
    let Some(chosen) = chosen else {
        let files = files.into_iter().map(|(_, file)| file).collect();
        return Ok(Shards { files, part: None, is_named: false });
    };
    let others = names(&files, |part| !chosen.contains(part));
    let part = (!others.is_empty()).then(|| format!("{}; not read: {}", chosen.join(", "), others.join(", ")));
    let is_chosen = |part: &Option<String>| part.as_ref().is_some_and(|part| chosen.contains(part));
    let files = files.into_iter().filter(|(part, _)| is_chosen(part)).map(|(_, file)| file).collect();
    Ok(Shards { files, part, is_named: true })
}

/// Whether the name of a single file marks it as the requested split.
fn is_named(file: &Path, split: Option<&SplitChoice>) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).map(stem);
    let kind = name.and_then(SplitKind::of_name);
    split
        .is_some_and(|split| name == Some(&split.to_string()) || kind.is_some_and(|kind| split.kinds().contains(&kind)))
}

/// Selects the files of the split; `None` if names mark no splits.
fn choose(path: &Path, split: &SplitChoice, files: &Parts) -> Result<Option<Vec<String>>, DatasetError> {
    let all = names(files, |_| true);
    if all.is_empty() {
        // A part that was asked for by a name of its own must be there.
        return match split {
            SplitChoice::Named(name) if SplitKind::from_word(name).is_none() => Err(no_such(path, split, &all)),
            SplitChoice::Train | SplitChoice::HeldOut | SplitChoice::Named(_) => Ok(None),
        };
    }
    if let Some(exact) = all.iter().find(|part| **part == split.to_string()) {
        return Ok(Some(vec![exact.clone()]));
    }
    for kind in split.kinds() {
        let of_kind: Vec<String> = all.iter().filter(|part| SplitKind::of_name(part) == Some(kind)).cloned().collect();
        if !of_kind.is_empty() {
            return one_of(path, split, of_kind).map(Some);
        }
    }
    if *split == SplitChoice::HeldOut { Ok(None) } else { Err(no_such(path, split, &all)) }
}

/// Selects one of several splits of a kind: numbered ones belong together, else the one for preferences.
fn one_of(path: &Path, split: &SplitChoice, parts: Vec<String>) -> Result<Vec<String>, DatasetError> {
    let is_plain = |part: &String| SplitKind::from_word(part).is_some();
    if parts.iter().all(is_plain) || parts.len() == 1 {
        return Ok(parts);
    }
    let plain: Vec<String> = parts.iter().filter(|part| is_plain(part)).cloned().collect();
    if !plain.is_empty() {
        return Ok(plain);
    }
    let is_preferences = |part: &&String| part.to_ascii_lowercase().contains("pref");
    let preferences: Vec<String> = parts.iter().filter(is_preferences).cloned().collect();
    if preferences.len() == 1 {
        return Ok(preferences);
    }
    let wanted = format!("single split `{split}`: there are {}; name one", parts.join(", "));
    let path = path.to_owned();
    Err(DatasetError::NoShards { path, wanted })
}

fn no_such(path: &Path, split: &SplitChoice, all: &[String]) -> DatasetError {
    let there = if all.is_empty() { String::new() } else { format!(", but {}", all.join(", ")) };
    DatasetError::NoShards { path: path.to_owned(), wanted: format!("file of the split `{split}`{there}") }
}

/// Distinct names of splits, in order.
fn names(files: &Parts, is_wanted: impl Fn(&String) -> bool) -> Vec<String> {
    let names: BTreeSet<&String> = files.iter().filter_map(|(part, _)| part.as_ref()).collect();
    names.into_iter().filter(|part| is_wanted(part)).cloned().collect()
}

/// The split that a path names: the first folder or file name with a word for a kind of split, without shard numbers
/// and extension. A name equal to the requested split counts too.
fn part_of(path: &Path, exact: Option<&str>) -> Option<String> {
    let stems: Vec<&str> = path.iter().filter_map(|component| Some(stem(component.to_str()?))).collect();
    let is_exact = |stem: &&&str| exact == Some(**stem);
    stems
        .iter()
        .find(is_exact)
        .or_else(|| stems.iter().find(|stem| SplitKind::of_name(stem).is_some()))
        .map(|stem| (*stem).to_owned())
}

fn stem(name: &str) -> &str {
    without_number(ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name))
}

/// Removes a shard number: `-00000-of-00003`, `_1`, `.2`.
fn without_number(name: &str) -> &str {
    let digits = |name: &str| name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    let separators = ['-', '_', '.'];
    let cut = &name[..digits(name)];
    let cut = cut.strip_suffix("-of-").map_or(cut, |cut| &cut[..digits(cut)]);
    if cut.ends_with(separators) { cut.trim_end_matches(separators) } else { name }
}

/// File name extensions of records.
const ENDINGS: [&str; 14] = [
    ".jsonl",
    ".json",
    ".jsonl.gz",
    ".json.gz",
    ".jsonl.zst",
    ".json.zst",
    ".parquet",
    ".arrow",
    ".csv",
    ".csv.gz",
    ".csv.zst",
    ".tsv",
    ".tsv.gz",
    ".tsv.zst",
];

/// Whether a file name has such an extension.
pub fn is_named_records(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
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
    // Arrow files that no description names are what `datasets` keeps of its own work. A data folder of the Hub has a description beside its shards.
    let is_description = matches!(name.as_str(), "dataset_info.json" | "dataset_infos.json" | "state.json");
    let is_own_work = Path::new(&name).extension().is_some_and(|kind| kind == "arrow");
    is_named_records(&name) && !is_description && !is_own_work
}
