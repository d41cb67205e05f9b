//! A model's tokenizer with what surrounds it: end and start tokens, chat template.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::extras::{Extras, token_ids};
use super::tokenizer_json;
use crate::PolicyError;

/// The most bytes of a text: a tokenizer takes some hundred bytes of memory for each of them.
const TEXT_LIMIT: usize = 2 << 20;

/// A tokenizer as the model's files describe it.
#[derive(Clone, Debug)]
pub struct ModelTokenizer {
    /// Where it came from, for messages.
    pub path: PathBuf,
    /// Tokens that end a text. The first is the one that is appended to a response; all of them stop a generation.
    pub eos: Vec<u32>,
    /// The token that starts a text.
    pub bos: Option<u32>,
    /// The end token as text, for chat templates.
    pub eos_token: Option<String>,
    /// The start token as text, for chat templates.
    pub bos_token: Option<String>,
    /// Whether the model expects the start token before every text.
    pub add_bos: bool,
    /// The chat template (Jinja) that is used when none is named.
    pub chat_template: Option<String>,
    /// All named chat templates.
    pub chat_templates: BTreeMap<String, String>,
    tokenizer: Tokenizer,
    spelling: Spelling,
}

/// How the pieces of a vocabulary spell bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's: every byte has a printable character.
    ByteLevel,
    /// SentencePiece's: `▁` is a space, `<0xNN>` a byte; whether the first space of a text is dropped.
    Pieces { drop_first_space: bool },
    /// Neither: the decoder's text is all there is.
    Text,
}

impl ModelTokenizer {
    /// Builds the tokenizer from a model's files; `None` when there is no `tokenizer.json`.
    ///
    /// `folder` is named in errors. The end and start tokens are those of `tokenizer_config.json` and
    /// `generation_config.json`; `fallback_eos` counts only where neither knows one, because fine-tuned models often
    /// leave the base model's in their `config.json`.
    ///
    /// # Errors
    /// Broken JSON in one of the files, a tokenizer that can't be built, an end token that is not in the vocabulary.
    pub fn from_extras(folder: &Path, extras: &Extras, fallback_eos: &[u32]) -> Result<Option<Self>, PolicyError> {
        let Some(bytes) = extras.get("tokenizer.json") else { return Ok(None) };
        let path = folder.join("tokenizer.json");
        let (tokenizer, spelling) = build(&path, bytes)?;
        let settings = extras.json(folder, "tokenizer_config.json")?.unwrap_or(Value::Null);
        let generation = extras.json(folder, "generation_config.json")?.unwrap_or(Value::Null);
        let eos_token = special_token(&settings, "eos_token");
        let bos_token = special_token(&settings, "bos_token");
        let id =
            |token: &Option<String>, key: &str| token.as_ref().map(|t| lookup(&path, &tokenizer, t, key)).transpose();
        let mut eos: Vec<u32> = id(&eos_token, "eos_token")?.into_iter().collect();
        eos.extend(token_ids(generation.get("eos_token_id")));
        if eos.is_empty() {
            eos.extend_from_slice(fallback_eos);
        }
        let mut seen = std::collections::BTreeSet::new();
        eos.retain(|id| seen.insert(*id));
        let bos = match id(&bos_token, "bos_token")? {
            Some(id) => Some(id),
            None => token_ids(generation.get("bos_token_id")).first().copied(),
        };
        let (chat_template, chat_templates) = chat_templates(extras, &settings);
        Ok(Some(Self {
            eos_token: eos_token.or_else(|| eos.first().and_then(|id| tokenizer.id_to_token(*id))),
            bos_token: bos_token.or_else(|| bos.and_then(|id| tokenizer.id_to_token(id))),
            add_bos: settings["add_bos_token"].as_bool().unwrap_or(false),
            path,
            eos,
            bos,
            chat_template,
            chat_templates,
            tokenizer,
            spelling,
        }))
    }

    /// Turns text into tokens, without any token the text doesn't spell.
    ///
    /// # Errors
    /// The tokenizer refuses the text, or it is longer than any model reads.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        if text.len() > TEXT_LIMIT {
            return Err(self.error(format!("a text is {} bytes long, and at most {TEXT_LIMIT} are read", text.len())));
        }
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|e| self.error(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Turns tokens into text; special tokens are left out.
    ///
    /// # Errors
    /// The tokenizer refuses the tokens.
    pub fn decode(&self, ids: &[u32]) -> Result<String, PolicyError> {
        self.tokenizer.decode(ids, true).map_err(|e| self.error(e.to_string()))
    }

    /// Turns tokens into the very bytes they stand for, be they UTF-8 or not; special tokens are left out.
    ///
    /// # Errors
    /// The tokenizer refuses the tokens.
    pub fn decode_bytes(&self, ids: &[u32]) -> Result<Vec<u8>, PolicyError> {
        if self.spelling == Spelling::Text {
            return self.decode(ids).map(String::into_bytes);
        }
        let added = self.tokenizer.get_added_tokens_decoder();
        let mut bytes = Vec::new();
        for id in ids {
            match (added.get(id), self.tokenizer.id_to_token(*id)) {
                (Some(token), _) if token.special => {}
                (Some(token), _) => bytes.extend_from_slice(token.content.as_bytes()),
                (None, Some(piece)) if self.spelling == Spelling::ByteLevel => spell_byte_level(&piece, &mut bytes),
                (None, Some(piece)) => spell_piece(&piece, &mut bytes),
                (None, None) => {}
            }
        }
        if self.spelling == (Spelling::Pieces { drop_first_space: true }) && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        Ok(bytes)
    }

    /// Returns the id of a token given as its text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Returns a token's piece as the vocabulary spells it.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Counts the tokens, added ones included.
    pub fn n_tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// The tokenizer itself.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn error(&self, reason: String) -> PolicyError {
        PolicyError::Tokenizer { path: self.path.clone(), reason }
    }
}

fn build(path: &Path, bytes: &[u8]) -> Result<(Tokenizer, Spelling), PolicyError> {
    let (tokenizer, value) = tokenizer_json::parse(path, bytes)?;
    Ok((tokenizer, spelling(&value["decoder"])))
}

fn spelling(decoder: &Value) -> Spelling {
    let steps: Vec<&Value> = match decoder["decoders"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![decoder],
    };
    let has = |kind: &str| steps.iter().any(|s| s["type"] == kind);
    let metaspace = steps.iter().find(|s| s["type"] == "Metaspace");
    if has("ByteLevel") {
        Spelling::ByteLevel
    } else if has("ByteFallback") {
        let prepended = metaspace.is_some_and(|m| m["prepend_scheme"] != "never");
        Spelling::Pieces { drop_first_space: prepended || has("Strip") }
    } else {
        Spelling::Text
    }
}

/// Reads a special token, which is a string or an object with `content`.
fn special_token(settings: &Value, key: &str) -> Option<String> {
    let token = &settings[key];
    token.as_str().or_else(|| token["content"].as_str()).map(str::to_owned)
}

fn lookup(path: &Path, tokenizer: &Tokenizer, token: &str, key: &str) -> Result<u32, PolicyError> {
    tokenizer.token_to_id(token).ok_or_else(|| PolicyError::Tokenizer {
        path: path.to_path_buf(),
        reason: format!("{key} `{token}` of tokenizer_config.json is not in its vocabulary"),
    })
}

/// Collects the templates: `chat_template.jinja` goes before `tokenizer_config.json`, as in transformers.
fn chat_templates(extras: &Extras, settings: &Value) -> (Option<String>, BTreeMap<String, String>) {
    let mut named = BTreeMap::new();
    match &settings["chat_template"] {
        Value::String(template) => {
            named.insert("default".to_owned(), template.clone());
        }
        Value::Array(list) => {
            for entry in list {
                if let (Some(name), Some(template)) = (entry["name"].as_str(), entry["template"].as_str()) {
                    named.insert(name.to_owned(), template.to_owned());
                }
            }
        }
        _ => {}
    }
    if let Some(bytes) = extras.get("chat_template.jinja") {
        named.insert("default".to_owned(), String::from_utf8_lossy(bytes).into_owned());
    }
    let only = if named.len() == 1 { named.values().next() } else { None };
    (named.get("default").or(only).cloned(), named)
}

/// Appends the bytes of a byte-level piece.
fn spell_byte_level(piece: &str, bytes: &mut Vec<u8>) {
    for c in piece.chars() {
        match byte_of_char(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Returns the byte that a character stands for in GPT-2's byte-level alphabet.
///
/// Printable bytes stand for themselves; the 68 others, in order, are the characters from U+0100 on.
fn byte_of_char(c: char) -> Option<u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(c) {
        code @ 0..=0xFF => Some(code as u8).filter(|b| printable(*b)),
        code => (0..=u8::MAX).filter(|b| !printable(*b)).nth(code as usize - 0x100),
    }
}

/// Appends the bytes of a SentencePiece piece.
fn spell_piece(piece: &str, bytes: &mut Vec<u8>) {
    let byte = piece.strip_prefix("<0x").and_then(|p| p.strip_suffix('>')).filter(|hex| hex.len() == 2);
    match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => bytes.push(byte),
        None => bytes.extend_from_slice(piece.replace('▁', " ").as_bytes()),
    }
}
