//! The tokenizer of a text encoder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizers::{AddedToken, PostProcessor, Tokenizer, TruncationDirection};

use crate::ModelError;
use crate::formats::Extras;
use crate::formats::tokenizer_json::parse;

/// CLIP's way to find words.
const SPLIT: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Turns texts into tokens as the text encoder was trained to read them: with begin and end, cut to the model's length
/// and padded to it.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    max_length: Option<usize>,
    padding: Option<u32>,
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
    /// A text becomes as long as `model_max_length` says, by padding where the folder names a padding token; without
    /// one it keeps its own length.
    ///
    /// # Errors
    /// Files that are missing or damaged, special tokens that are not in the vocabulary.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let files = Extras::read(folder)?;
        let settings = files.json(folder, "tokenizer_config.json")?.unwrap_or(Value::Null);
        let names = files.json(folder, "special_tokens_map.json")?.unwrap_or(Value::Null);
        let special = |key: &str| content(&settings[key]).or_else(|| content(&names[key]));
        let (path, mut tokenizer, defaults) = match (files.get("tokenizer.json"), files.get("vocab.json")) {
            (Some(bytes), _) => (folder.join("tokenizer.json"), parse(&folder.join("tokenizer.json"), bytes)?.0, false),
            (None, Some(_)) => {
                let spelled = byte_pairs(folder, &files, &[special("bos_token"), special("eos_token")])?;
                (folder.join("vocab.json"), parse(&folder.join("vocab.json"), &spelled)?.0, true)
            }
            (None, None) => {
                let reason = "no tokenizer: tokenizer.json, or vocab.json and merges.txt, are expected";
                return Err(ModelError::format(folder, reason));
            }
        };
        let padding = special("pad_token").or_else(|| defaults.then(|| "<|endoftext|>".to_owned()));
        let known: BTreeSet<String> = ["bos_token", "eos_token", "unk_token"]
            .iter()
            .filter_map(|key| special(key))
            .chain(padding.clone())
            .collect();
        add_special(&path, &mut tokenizer, &known)?;
        let padding = padding.and_then(|token| tokenizer.token_to_id(&token));
        let max_length = settings["model_max_length"].as_u64().and_then(|n| usize::try_from(n).ok());
        let mut loaded = Self { path, tokenizer, max_length: None, padding };
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
                ids.resize(length.max(ids.len()), padding);
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
            encoding.truncate(room, 0, TruncationDirection::Right);
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

/// A token's text, which is a string or the `content` of an object.
fn content(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
}

/// Makes special tokens be found in a text before it is split, as transformers does.
fn add_special(path: &Path, tokenizer: &mut Tokenizer, tokens: &BTreeSet<String>) -> Result<(), ModelError> {
    let error = |reason: String| ModelError::Tokenizer { path: path.to_path_buf(), reason };
    if let Some(unknown) = tokens.iter().find(|token| tokenizer.token_to_id(token).is_none()) {
        return Err(error(format!("special token `{unknown}` is not in its vocabulary")));
    }
    let known = tokenizer.get_added_tokens_decoder();
    let is_new = |token: &&String| known.values().all(|added| added.content != **token);
    let tokens: Vec<AddedToken> =
        tokens.iter().filter(is_new).map(|token| AddedToken::from(token.clone(), true).normalized(false)).collect();
    tokenizer.add_special_tokens(tokens).map_err(|e| error(e.to_string()))?;
    Ok(())
}

/// CLIP's tokenizer as a `tokenizer.json`, from the files of released models.
fn byte_pairs(folder: &Path, files: &Extras, ends: &[Option<String>; 2]) -> Result<Vec<u8>, ModelError> {
    let path = folder.join("vocab.json");
    let vocabulary = files.json(folder, "vocab.json")?.unwrap_or(Value::Null);
    let [begin, end] = [("<|startoftext|>", &ends[0]), ("<|endoftext|>", &ends[1])]
        .map(|(usual, token)| token.clone().unwrap_or_else(|| usual.to_owned()));
    let id = |token: &String| {
        vocabulary[token].as_u64().ok_or_else(|| ModelError::Tokenizer {
            path: path.clone(),
            reason: format!("special token `{token}` is not in its vocabulary"),
        })
    };
    let (begin_id, end_id) = (id(&begin)?, id(&end)?);
    let spelled = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": SPLIT }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": { "type": "RobertaProcessing", "sep": [end, end_id], "cls": [begin, begin_id],
            "trim_offsets": false, "add_prefix_space": false },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": end, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges(folder, files)? },
    });
    Ok(spelled.to_string().into_bytes())
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
