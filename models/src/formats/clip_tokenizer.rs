//! Tokenizers of text encoders: `tokenizer.json`, or `vocab.json` and `merges.txt`, with their settings.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::TruncationDirection;

use super::Extras;
use super::tokenizer::{self, ClipParts};
use crate::ModelError;
use crate::clip::ClipTokenizer;

/// Loads a tokenizer from `tokenizer.json`, or from `vocab.json` and `merges.txt`, with optional
/// `tokenizer_config.json` and `special_tokens_map.json`.
///
/// Text is tokenised as by the class that the files declare, or by transformers' `CLIPTokenizer` if they declare none.
/// Texts are padded and truncated to `model_max_length`; without it they keep their own length.
///
/// # Errors
/// Files that are missing or damaged, special tokens outside the vocabulary.
pub fn load_clip_tokenizer(folder: &Path) -> Result<ClipTokenizer, ModelError> {
    load(folder, None)
}

/// Loads the same files as a given class, such as a pipeline names, regardless of the class they declare.
///
/// # Errors
/// As [`load_clip_tokenizer`].
pub fn load_clip_tokenizer_as(class: &str, folder: &Path) -> Result<ClipTokenizer, ModelError> {
    load(folder, Some(class))
}

fn load(folder: &Path, class: Option<&str>) -> Result<ClipTokenizer, ModelError> {
    let files = Extras::read(folder)?;
    let (path, file) = match (files.get("tokenizer.json"), files.get("vocab.json")) {
        (Some(_), _) => (folder.join("tokenizer.json"), files.json(folder, "tokenizer.json")?),
        (None, Some(_)) => (folder.join("vocab.json"), Some(byte_pairs(folder, &files)?)),
        (None, None) => {
            let reason = "no tokenizer: tokenizer.json, or vocab.json and merges.txt, are expected";
            return Err(ModelError::format(folder, reason));
        }
    };
    let ClipParts { tokenizer, padding, settings } =
        tokenizer::clip(folder, &path, &files, class, file.unwrap_or(Value::Null))?;
    let side = |key: &str| if settings[key] == "left" { TruncationDirection::Left } else { TruncationDirection::Right };
    let mut loaded = ClipTokenizer::new(path, tokenizer, padding, (side("truncation_side"), side("padding_side")));
    if let Some(length) = settings["model_max_length"].as_u64().and_then(|n| usize::try_from(n).ok()) {
        loaded.limit(length)?;
    }
    Ok(loaded)
}

/// The vocabulary of released models' files in the form of a `tokenizer.json`; the class adds the rest.
fn byte_pairs(folder: &Path, files: &Extras) -> Result<Value, ModelError> {
    let vocabulary = files.json(folder, "vocab.json")?.unwrap_or(Value::Null);
    Ok(json!({ "version": "1.0", "added_tokens": [],
        "model": { "vocab": vocabulary, "merges": merges(folder, files)? } }))
}

/// Reads `merges.txt`: one pair per line, in merge order.
fn merges(folder: &Path, files: &Extras) -> Result<Vec<[String; 2]>, ModelError> {
    let path = folder.join("merges.txt");
    let Some(bytes) = files.get("merges.txt") else {
        return Err(ModelError::format(folder, "vocab.json without its merges.txt"));
    };
    let text = std::str::from_utf8(bytes).map_err(|e| ModelError::format(&path, e.to_string()))?;
    let lines =
        text.lines().enumerate().filter(|(n, line)| !(line.is_empty() || *n == 0 && line.starts_with("#version")));
    let pair = |(n, line): (usize, &str)| match line.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok([left.to_owned(), right.to_owned()]),
        _ => Err(ModelError::format(&path, format!("line {}: two pieces with a space between are expected", n + 1))),
    };
    lines.map(pair).collect()
}
