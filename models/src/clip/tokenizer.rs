//! The tokenizer of a text encoder.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection};

use crate::ModelError;
use crate::formats::Extras;
use crate::formats::tokenizer::{self, ClipParts};

/// Turns texts into tokens as the text encoder was trained to read them: with begin and end, cut to the model's length
/// and padded to it.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    max_length: Option<usize>,
    padding: Option<u32>,
    /// Where texts that are too long lose tokens.
    cut: TruncationDirection,
    /// Where texts that are too short are filled up.
    filled: TruncationDirection,
}

/// Texts as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedTexts {
    /// The tokens of each text.
    pub ids: Vec<Vec<u32>>,
    /// Which texts were too long and lost their end.
    pub truncated: Vec<bool>,
}

impl TokenizedTexts {
    /// Counts the texts that lost their end.
    pub fn n_truncated(&self) -> usize {
        self.truncated.iter().filter(|truncated| **truncated).count()
    }
}

impl ClipTokenizer {
    /// Loads a folder of `tokenizer.json`, or of `vocab.json` and `merges.txt`, with `tokenizer_config.json` and
    /// `special_tokens_map.json` where there are some.
    ///
    /// Text is read as the class that the files declare reads it, and as transformers' `CLIPTokenizer` does where they
    /// declare none. A text becomes as long as `model_max_length` says; without that it keeps its own length.
    ///
    /// # Errors
    /// Files that are missing or damaged, special tokens that are not in the vocabulary.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        Self::read(folder, None)
    }

    /// Loads the same files as those of the class that a pipeline names, whatever class they declare themselves.
    ///
    /// # Errors
    /// As [`ClipTokenizer::load`].
    pub fn load_as(class: &str, folder: &Path) -> Result<Self, ModelError> {
        Self::read(folder, Some(class))
    }

    fn read(folder: &Path, class: Option<&str>) -> Result<Self, ModelError> {
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
        let max_length = settings["model_max_length"].as_u64().and_then(|n| usize::try_from(n).ok());
        let side =
            |key: &str| if settings[key] == "left" { TruncationDirection::Left } else { TruncationDirection::Right };
        let (cut, filled) = (side("truncation_side"), side("padding_side"));
        let mut loaded = Self { path, tokenizer, max_length: None, padding, cut, filled };
        if let Some(length) = max_length {
            loaded.limit(length)?;
        }
        Ok(loaded)
    }

    /// Cuts texts to `length` tokens, if they aren't cut to fewer already.
    ///
    /// # Errors
    /// A length that has no room for begin, end and a token between them.
    pub fn limit(&mut self, length: usize) -> Result<(), ModelError> {
        let length = self.max_length.map_or(length, |known| known.min(length));
        let added = self.n_added();
        if length <= added {
            let reason = format!("texts of {length} tokens have no room beside {added} special ones");
            return Err(self.error(reason));
        }
        self.max_length = Some(length);
        Ok(())
    }

    /// Turns texts into tokens.
    ///
    /// # Errors
    /// The tokenizer refuses a text.
    pub fn encode(&self, texts: &[&str]) -> Result<TokenizedTexts, ModelError> {
        let mut tokenized = TokenizedTexts { ids: Vec::with_capacity(texts.len()), truncated: Vec::new() };
        for text in texts {
            let (mut ids, truncated) = self.encode_one(text).map_err(|e| self.error(e.to_string()))?;
            if let (Some(length), Some(padding)) = (self.max_length, self.padding) {
                let missing = std::iter::repeat_n(padding, length.saturating_sub(ids.len()));
                match self.filled {
                    TruncationDirection::Right => ids.extend(missing),
                    TruncationDirection::Left => drop(ids.splice(0..0, missing)),
                }
            }
            tokenized.truncated.push(truncated);
            tokenized.ids.push(ids);
        }
        Ok(tokenized)
    }

    /// A text's tokens between begin and end, and whether there were too many.
    fn encode_one(&self, text: &str) -> tokenizers::Result<(Vec<u32>, bool)> {
        let mut encoding = self.tokenizer.encode_fast(text, false)?;
        let room = self.max_length.map(|length| length - self.n_added());
        let truncated = room.is_some_and(|room| encoding.len() > room);
        if let Some(room) = room {
            encoding.truncate(room, 0, self.cut);
        }
        Ok((self.tokenizer.post_process(encoding, None, true)?.get_ids().to_vec(), truncated))
    }

    /// How many tokens begin and end are.
    fn n_added(&self) -> usize {
        self.tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false))
    }

    /// Counts the tokens of the vocabulary, special ones included.
    pub fn n_tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The most tokens of a text, if there is a limit.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// The file the vocabulary came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, reason: String) -> ModelError {
        ModelError::Tokenizer { path: self.path.clone(), reason }
    }
}

/// The vocabulary of the files of released models as a `tokenizer.json` has it; the class knows the rest.
fn byte_pairs(folder: &Path, files: &Extras) -> Result<Value, ModelError> {
    let vocabulary = files.json(folder, "vocab.json")?.unwrap_or(Value::Null);
    Ok(json!({ "version": "1.0", "added_tokens": [],
        "model": { "vocab": vocabulary, "merges": merges(folder, files)? } }))
}

/// Reads `merges.txt`: a line for each pair, in the order they are merged.
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
