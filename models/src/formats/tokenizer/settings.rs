//! Special and added tokens of a folder, as transformers 5 collects them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::TokenizerClass;
use crate::ModelError;
use crate::formats::Extras;

/// The special tokens that every tokenizer may have, in transformers' order.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The type tag of a token object in the settings.
const TOKEN: &str = "AddedToken";

/// The contents of `tokenizer_config.json` and its older companions.
#[derive(Debug)]
pub(super) struct Settings {
    /// `tokenizer_config.json`, with the overrides of `special_tokens_map.json`.
    pub(super) source: Value,
    /// Named tokens, the standard ones first.
    pub(super) named: Vec<(String, AddedToken)>,
    /// Special tokens without a name.
    pub(super) extra: Vec<AddedToken>,
    /// Tokens added to the vocabulary, by their id in the files.
    pub(super) added: BTreeMap<u32, AddedToken>,
}

impl Settings {
    /// Reads the files beside a `tokenizer.json` whose own added tokens are `stored`.
    ///
    /// # Errors
    /// Broken JSON, or a token that is neither a text nor an object with `content`.
    pub(super) fn read(folder: &Path, extras: &Extras, stored: &Value) -> Result<Self, ModelError> {
        let path = folder.join("tokenizer_config.json");
        let mut source = extras.json(folder, "tokenizer_config.json")?.unwrap_or_else(|| Value::Object(Map::new()));
        let mut added = BTreeMap::new();
        let is_complete = source.get("added_tokens_decoder").is_some();
        if let Some(decoder) = source.get("added_tokens_decoder").and_then(Value::as_object) {
            for (id, value) in decoder {
                let id = id.parse().map_err(|_| refuse(&path, "added_tokens_decoder", &Value::from(id.as_str())))?;
                added.insert(id, token(&path, "added_tokens_decoder", value)?);
            }
        }
        // Older folders: the map's tokens override the settings', and added tokens are in their own files.
        if !is_complete && let Some(map) = extras.json(folder, "special_tokens_map.json")? {
            overlay(&mut source, map);
        }
        let named = named(&path, &source)?;
        let extra = extra(&path, &source)?;
        if !is_complete {
            let is_special = |text: &str| {
                named.iter().any(|(_, token)| token.content == text) || extra.iter().any(|token| token.content == text)
            };
            older_added(folder, extras, stored, &is_special, &mut added)?;
        }
        Ok(Self { source, named, extra, added })
    }

    /// The class that the files declare.
    pub(super) fn declared_class(&self) -> Option<&str> {
        self.source["tokenizer_class"].as_str()
    }

    /// Adds the class's own tokens for names that no file has, not even as null.
    pub(super) fn complete(&mut self, class: &TokenizerClass) {
        for (name, text) in class.default_tokens() {
            if self.source.get(*name).is_none() {
                self.named.push(((*name).to_owned(), AddedToken::from(*text, true)));
            }
        }
        let place = |name: &str| NAMED.iter().position(|known| *known == name).unwrap_or(NAMED.len());
        self.named.sort_by_key(|(name, _)| place(name));
    }

    /// A named token.
    pub(super) fn named_token(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, token)| token.content.as_str())
    }

    /// Whether a file names this token, rather than the class.
    pub(super) fn is_in_a_file(&self, name: &str) -> bool {
        self.source.get(name).is_some()
    }

    /// The tokens missing in a tokenizer whose added tokens are `known`, in the order of addition.
    ///
    /// The matching of a token in texts (surrounding spaces, whole words) is that of its entry among the added tokens;
    /// a name defines it only for tokens without an entry. If two names have one such token, the last one decides.
    pub(super) fn missing(&self, known: &[AddedToken]) -> Vec<AddedToken> {
        let mut missing: Vec<AddedToken> =
            self.added.values().filter(|token| !known.contains(token)).cloned().collect();
        let has_entry: BTreeSet<String> = known.iter().chain(&missing).map(|token| token.content.clone()).collect();
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            if !has_entry.contains(&token.content) && !missing.contains(token) {
                missing.push(token.clone());
            }
        }
        for token in &mut missing {
            token.special |= self.named.iter().any(|(_, named)| named.content == token.content);
        }
        missing
    }
}

/// Merges `special_tokens_map.json` into the settings. Its objects are special tokens, without a type tag.
fn overlay(source: &mut Value, map: Value) {
    let Value::Object(map) = map else { return };
    for (key, mut value) in map {
        if key != "extra_special_tokens" && value.get("content").is_some() {
            value["__type"] = TOKEN.into();
            value["special"] = true.into();
        }
        source[key.as_str()] = value;
    }
}

fn named(path: &Path, source: &Value) -> Result<Vec<(String, AddedToken)>, ModelError> {
    let mut named = Vec::new();
    let Some(settings) = source.as_object() else { return Ok(named) };
    for (name, value) in settings {
        let is_standard = NAMED.contains(&name.as_str());
        // A custom token, such as `image_token`; other values under such a name are settings.
        let is_own = name.ends_with("_token") && (value.is_string() || value["__type"] == TOKEN);
        if (is_standard || is_own) && !value.is_null() {
            named.push((name.clone(), token(path, name, value)?));
        }
    }
    if let Some(own) = source["extra_special_tokens"].as_object() {
        for (name, value) in own {
            named.push((name.clone(), token(path, name, value)?));
        }
    }
    Ok(named)
}

fn extra(path: &Path, source: &Value) -> Result<Vec<AddedToken>, ModelError> {
    // An object there names tokens, and the list keeps its older name.
    let is_list = source["extra_special_tokens"].as_array().is_some_and(|list| !list.is_empty());
    let key = if is_list { "extra_special_tokens" } else { "additional_special_tokens" };
    let list = source[key].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|value| token(path, key, value)).collect()
}

/// Added tokens of `added_tokens.json`, then those of `tokenizer.json` itself.
fn older_added(
    folder: &Path,
    extras: &Extras,
    stored: &Value,
    is_special: &dyn Fn(&str) -> bool,
    added: &mut BTreeMap<u32, AddedToken>,
) -> Result<(), ModelError> {
    let path = folder.join("added_tokens.json");
    if let Some(Value::Object(map)) = extras.json(folder, "added_tokens.json")? {
        for (text, id) in map {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let number = number.ok_or_else(|| refuse(&path, &text, &id))?;
            added.insert(number, AddedToken::from(text.as_str(), is_special(&text)));
        }
    }
    let path = folder.join("tokenizer.json");
    for value in stored.as_array().map(Vec::as_slice).unwrap_or_default() {
        let id = value["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        added.insert(id.ok_or_else(|| refuse(&path, "added_tokens", value))?, token(&path, "added_tokens", value)?);
    }
    Ok(())
}

/// Reads a token: a text, or an object with `content` and matching properties.
fn token(path: &Path, name: &str, value: &Value) -> Result<AddedToken, ModelError> {
    if let Some(text) = value.as_str() {
        return Ok(AddedToken::from(text, true));
    }
    let Some(text) = value["content"].as_str() else { return Err(refuse(path, name, value)) };
    let flag = |key: &str, default: bool| value[key].as_bool().unwrap_or(default);
    // A tagged token object is special if it says so; a name makes it special after that.
    let is_special = flag("special", name.ends_with("_token") && value["__type"] != TOKEN);
    Ok(AddedToken::from(text, is_special)
        .single_word(flag("single_word", false))
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false))
        .normalized(flag("normalized", !is_special)))
}

fn refuse(path: &Path, name: &str, value: &Value) -> ModelError {
    let mut found = value.to_string();
    if found.chars().count() > 60 {
        found = found.chars().take(60).chain("..".chars()).collect();
    }
    ModelError::format(path, format!("`{name}` is {found}; a token is a text, or an object with `content`"))
}
