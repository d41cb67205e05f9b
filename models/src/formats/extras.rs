//! Files beside the weights, kept as bytes so that saving preserves them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::ModelError;

/// The folder of additional chat templates, one per file.
pub(super) const ADDITIONAL_TEMPLATES: &str = "additional_chat_templates";

/// Files of a model folder that are neither weights nor `config.json`.
const CARRIED: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    GENERATION,
];

/// The only one of these files that does not concern tokenisation.
const GENERATION: &str = "generation_config.json";

/// File names and their bytes: tokenizer, chat template, generation settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    files: BTreeMap<String, Vec<u8>>,
}

impl Extras {
    /// Reads the extra files of a folder.
    ///
    /// # Errors
    /// A file that exists and can't be read.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let mut extras = Self::default();
        for name in CARRIED {
            let path = folder.join(name);
            if path.is_file() {
                extras.insert(name, std::fs::read(&path).map_err(|e| ModelError::io(&path, e))?);
            }
        }
        extras.read_templates(&folder.join(ADDITIONAL_TEMPLATES))?;
        Ok(extras)
    }

    /// Reads additional chat templates, if there is a folder of them.
    fn read_templates(&mut self, folder: &Path) -> Result<(), ModelError> {
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder).map_err(|e| ModelError::io(folder, e))? {
            let path = entry.map_err(|e| ModelError::io(folder, e))?.path();
            let is_template = path.is_file() && path.extension().is_some_and(|kind| kind == "jinja");
            if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| is_template) {
                let bytes = std::fs::read(&path).map_err(|e| ModelError::io(&path, e))?;
                self.insert(format!("{ADDITIONAL_TEMPLATES}/{name}"), bytes);
            }
        }
        Ok(())
    }

    /// Replaces tokeniser files by another folder's: all of them if that folder has its own `tokenizer.json`, else its
    /// chat templates if it has any. Returns whether anything changed.
    pub(crate) fn take_tokenizer_of(&mut self, other: &Self) -> bool {
        let is_template = |name: &str| name.starts_with(ADDITIONAL_TEMPLATES) || name == "chat_template.jinja";
        let has_tokenizer = other.get("tokenizer.json").is_some();
        let is_taken = |name: &str| is_template(name) || has_tokenizer && name != GENERATION;
        if !other.files.keys().any(|name| is_taken(name)) {
            return false;
        }
        self.files.retain(|name, _| !is_taken(name));
        let taken = other.files.iter().filter(|(name, _)| is_taken(name));
        self.files.extend(taken.map(|(name, bytes)| (name.clone(), bytes.clone())));
        true
    }

    /// Adds or replaces a file; a name with a `/` is in a subfolder.
    pub fn insert(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.files.insert(name.into(), bytes);
    }

    /// Adds or replaces a JSON file, indented by two spaces.
    pub(crate) fn insert_json(&mut self, name: &str, value: &Value) {
        self.insert(name, format!("{value:#}\n").into_bytes());
    }

    /// Returns a file's bytes.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Files and bytes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// Parses one of the files as a JSON object; `None` if it is absent.
    pub(crate) fn json(&self, folder: &Path, name: &str) -> Result<Option<Value>, ModelError> {
        self.get(name).map(|bytes| parse_object(&folder.join(name), bytes)).transpose()
    }
}

/// Reads a JSON file that must hold an object.
pub(crate) fn read_object(path: &Path) -> Result<Value, ModelError> {
    let bytes = std::fs::read(path).map_err(|e| ModelError::io(path, e))?;
    parse_object(path, &bytes)
}

fn parse_object(path: &Path, bytes: &[u8]) -> Result<Value, ModelError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ModelError::format(path, "the file is empty; a JSON object is expected"));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|e| ModelError::json(path, &e))?;
    if value.is_object() { Ok(value) } else { Err(ModelError::format(path, "a JSON object is expected")) }
}

/// Reads token ids given as one number or a list of them.
pub(crate) fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(id) => one(id).into_iter().collect(),
        None => Vec::new(),
    }
}
