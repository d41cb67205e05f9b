//! A model's tokenizer with what surrounds it: special tokens, start and end of a text, chat templates.
//!
//! Whatever reads text for a model reads it through [`ModelTokenizer`], which is what transformers 5 makes of the same
//! folder: `class` is what the declared class does to `tokenizer.json`, `settings` the special and added tokens in their
//! old and new places, `templates` the chat templates, `spelling` the way back to bytes, `agree` what is saved again.

mod agree;
mod class;
pub(crate) mod patterns;
mod settings;
mod spelling;
mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizers::{AddedToken, Encoding, Tokenizer};

use super::extras::{Extras, token_ids};
use super::tokenizer_json;
use crate::ModelError;
use crate::causal::CausalConfig;
use class::Class;
use settings::Settings;
use spelling::Spelling;
pub(super) use templates::ADDITIONAL as ADDITIONAL_TEMPLATES;

/// The most bytes of a text: a tokenizer takes some hundred bytes of memory for each of them.
const TEXT_LIMIT: usize = 2 << 20;

/// A tokenizer as the model's files describe it.
#[derive(Clone, Debug)]
pub struct ModelTokenizer {
    /// Where it came from, for messages.
    pub path: PathBuf,
    /// Tokens that end a text. The first is the one that is appended to a response; all of them stop a generation.
    pub eos: Vec<u32>,
    /// The token that starts a text, where there is one; `prefix` says whether texts get it.
    pub bos: Option<u32>,
    /// The tokens that the post-processor puts before every text that is no chat.
    pub prefix: Vec<u32>,
    /// The special tokens by name (`eos_token`, `pad_token`, a model's own), as chat templates see them.
    pub named_tokens: BTreeMap<String, String>,
    /// All chat templates (Jinja) by name; `default` is used unless another is asked for.
    pub chat_templates: BTreeMap<String, String>,
    /// What a user should know of how the files were read.
    pub notes: Vec<String>,
    tokenizer: Tokenizer,
    spelling: Spelling,
}

impl ModelTokenizer {
    /// Builds the tokenizer from a model's files; `None` when there is no `tokenizer.json`.
    ///
    /// `folder` is named in errors; `config` is the model's, where there is one. The end tokens are the tokenizer's own, then those of `generation_config.json`, then
    /// those that `config.json` states; the default of the model's class counts only where none of them knows one.
    ///
    /// # Errors
    /// Broken JSON in one of the files, a tokenizer that can't be built, a special token that is no text.
    pub fn from_extras(
        folder: &Path,
        extras: &Extras,
        config: Option<&CausalConfig>,
    ) -> Result<Option<Self>, ModelError> {
        let model = config.map_or(&Value::Null, |config| &config.source);
        let of = |key: &str| model[key].as_str();
        Self::build(folder, extras, config, of("model_type").unwrap_or_default(), of("tokenizer_class"))
    }

    /// Builds the tokenizer of files that say by themselves how text is split, whatever model they belong to: those beside
    /// an adapter, whose folder has no `config.json`, and those that a single file of another format describes. The class
    /// is the one that the tokenizer's own files declare.
    ///
    /// # Errors
    /// As [`ModelTokenizer::from_extras`].
    pub fn of_its_own(
        folder: &Path,
        extras: &Extras,
        config: Option<&CausalConfig>,
    ) -> Result<Option<Self>, ModelError> {
        Self::build(folder, extras, config, "", None)
    }

    fn build(
        folder: &Path,
        extras: &Extras,
        config: Option<&CausalConfig>,
        model_type: &str,
        class_of_model: Option<&str>,
    ) -> Result<Option<Self>, ModelError> {
        let Some(bytes) = extras.get("tokenizer.json") else { return Ok(None) };
        let path = folder.join("tokenizer.json");
        let mut file: Value = serde_json::from_slice(bytes).map_err(|e| ModelError::json(&path, &e))?;
        let mut settings = Settings::read(folder, extras, &file["added_tokens"])?;
        let declared = settings.declared_class().or(class_of_model);
        let class = Class::choose(model_type, declared, contains(bytes, b"\"ByteLevel\""));
        settings.complete(&class);
        let notes = notes(&class, &file, &settings.source);
        class.rebuild(&mut file, &settings.source);
        let spelling = Spelling::of_decoder(&file["decoder"]);
        // Files that the class takes as they are need not be written again.
        let tokenizer = match class {
            Class::AsIs | Class::Foreign(_) => build(&path, bytes, &settings)?,
            _ => build(&path, file.to_string().as_bytes(), &settings)?,
        };
        drop(file);
        let generation = extras.json(folder, "generation_config.json")?.unwrap_or(Value::Null);
        let id = |name: &str| settings.named_token(name).and_then(|text| tokenizer.token_to_id(text));
        let bos = id("bos_token").or_else(|| token_ids(generation.get("bos_token_id")).first().copied());
        let eos = ends(&settings, id("eos_token"), &generation, config);
        let mut named_tokens: BTreeMap<String, String> =
            settings.named.iter().map(|(name, token)| (name.clone(), token.content.clone())).collect();
        for (name, id) in [("bos_token", bos), ("eos_token", eos.first().copied())] {
            if let Some(text) = id.and_then(|id| tokenizer.id_to_token(id)) {
                named_tokens.entry(name.to_owned()).or_insert(text);
            }
        }
        Ok(Some(Self {
            prefix: prefix(&tokenizer),
            chat_templates: templates::collect(extras, &settings.source),
            path,
            eos,
            bos,
            named_tokens,
            notes,
            tokenizer,
            spelling,
        }))
    }

    /// The chat template for a conversation with or without tools, as transformers chooses it: `tool_use` where there are
    /// tools and such a template, else the default, or the only one there is.
    pub fn chat_template(&self, with_tools: bool) -> Option<&str> {
        let tools = with_tools.then(|| self.chat_templates.get("tool_use")).flatten();
        let only = || (self.chat_templates.len() == 1).then(|| self.chat_templates.values().next()).flatten();
        tools.or_else(|| self.chat_templates.get("default")).or_else(only).map(String::as_str)
    }

    /// Turns text into tokens, without any token the text doesn't spell.
    ///
    /// # Errors
    /// The tokenizer refuses the text, or it is longer than any model reads.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
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
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.tokenizer.decode(ids, true).map_err(|e| self.error(e.to_string()))
    }

    /// Turns tokens into the very bytes they stand for, be they UTF-8 or not; special tokens are left out.
    ///
    /// # Errors
    /// The tokenizer refuses the tokens.
    pub fn decode_bytes(&self, ids: &[u32]) -> Result<Vec<u8>, ModelError> {
        if self.spelling == Spelling::Text {
            return self.decode(ids).map(String::into_bytes);
        }
        let added = self.tokenizer.get_added_tokens_decoder();
        let mut bytes = Vec::new();
        for id in ids {
            match (added.get(id), self.tokenizer.id_to_token(*id)) {
                (Some(token), _) if token.special => {}
                (Some(token), _) => bytes.extend_from_slice(token.content.as_bytes()),
                (None, Some(piece)) => self.spelling.spell(&piece, &mut bytes),
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

    fn error(&self, reason: String) -> ModelError {
        ModelError::Tokenizer { path: self.path.clone(), reason }
    }
}

/// A text encoder's tokenizer, and what is said about it.
pub(crate) struct ClipParts {
    pub(crate) tokenizer: Tokenizer,
    /// The token that fills texts up.
    pub(crate) padding: Option<u32>,
    /// `tokenizer_config.json`, with what `special_tokens_map.json` overrides in it.
    pub(crate) settings: Value,
}

/// What the class `named` makes of a folder, whose `tokenizer.json` or older files are `file`. Where nobody names one it is
/// the class that the folder declares, and `CLIPTokenizer` where it declares none; that class takes byte pairs alone.
///
/// # Errors
/// Broken JSON, a tokenizer that can't be built, special tokens that are not in its vocabulary.
pub(crate) fn clip(
    folder: &Path,
    path: &Path,
    extras: &Extras,
    named: Option<&str>,
    mut file: Value,
) -> Result<ClipParts, ModelError> {
    let error = |reason: String| ModelError::Tokenizer { path: path.to_path_buf(), reason };
    let mut settings = Settings::read(folder, extras, &file["added_tokens"])?;
    let declared = named.or(settings.declared_class());
    let is_clips = matches!(declared, None | Some("CLIPTokenizer" | "CLIPTokenizerFast"));
    let has_pairs = matches!(file["model"]["type"].as_str(), None | Some("BPE"));
    let class = if is_clips && has_pairs {
        Class::Clip
    } else {
        Class::choose("", declared, file.to_string().contains("\"ByteLevel\""))
    };
    settings.complete(&class);
    class.rebuild(&mut file, &settings.source);
    for name in ["bos_token", "eos_token", "unk_token", "pad_token"] {
        let Some(text) = settings.named_token(name) else { continue };
        let is_added = settings.added.values().any(|token| token.content == text);
        if !is_added && !has_piece(&file["model"]["vocab"], text) {
            return Err(error(format!("special token `{text}` is not in its vocabulary")));
        }
    }
    if class == Class::Clip {
        begin_and_end(&mut file, &settings);
    }
    let tokenizer = build(path, file.to_string().as_bytes(), &settings)?;
    let padding = settings.named_token("pad_token").and_then(|token| tokenizer.token_to_id(token));
    Ok(ClipParts { tokenizer, padding, settings: settings.source })
}

/// Puts CLIP's begin and end around texts.
fn begin_and_end(file: &mut Value, settings: &Settings) {
    let end = |name: &str| json!([settings.named_token(name), id_of(file, settings, name)]);
    let (begin, end) = (end("bos_token"), end("eos_token"));
    file["post_processor"] = json!({ "type": "RobertaProcessing", "cls": begin, "sep": end, "trim_offsets": false,
        "add_prefix_space": false });
    file["model"]["unk_token"] = json!(settings.named_token("unk_token"));
}

/// The id of a named token: in the vocabulary, or among the added.
fn id_of(file: &Value, settings: &Settings, name: &str) -> Option<u64> {
    let text = settings.named_token(name)?;
    let added = || settings.added.iter().find(|(_, token)| token.content == text).map(|(id, _)| u64::from(*id));
    file["model"]["vocab"][text].as_u64().or_else(added)
}

/// Whether a vocabulary, an object of pieces or a list of them with scores, has a piece.
fn has_piece(vocabulary: &Value, text: &str) -> bool {
    match vocabulary {
        Value::Array(pieces) => pieces.iter().any(|piece| piece[0] == text || *piece == text),
        other => other.get(text).is_some(),
    }
}

/// Builds the tokenizer and adds the tokens that the files beside it name and it lacks.
fn build(path: &Path, bytes: &[u8], settings: &Settings) -> Result<Tokenizer, ModelError> {
    let (mut tokenizer, _) = tokenizer_json::parse(path, bytes)?;
    tokenizer.set_encode_special_tokens(settings.source["split_special_tokens"].as_bool().unwrap_or(false));
    let known: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
    let missing = settings.missing(&known);
    if !missing.is_empty() {
        let error = |e: tokenizers::Error| ModelError::Tokenizer { path: path.to_path_buf(), reason: e.to_string() };
        tokenizer.add_tokens(missing).map_err(error)?;
    }
    Ok(tokenizer)
}

/// What the post-processor puts before a text, seen on texts that are not empty.
fn prefix(tokenizer: &Tokenizer) -> Vec<u32> {
    let probes = ["a", "0", ".", " ", "the", "\n"];
    let encoded = probes.into_iter().filter_map(|text| tokenizer.encode_fast(text, true).ok());
    let is_own = |encoding: &Encoding| encoding.get_special_tokens_mask().contains(&0);
    encoded.into_iter().find(is_own).map_or_else(Vec::new, |encoding| {
        let mask = encoding.get_special_tokens_mask();
        let n = mask.iter().take_while(|is_special| **is_special == 1).count();
        encoding.get_ids()[..n].to_vec()
    })
}

/// Says where a class reads text otherwise than the file beside it, or should and is not known here.
fn notes(class: &Class, file: &Value, settings: &Value) -> Vec<String> {
    let name = settings["tokenizer_class"].as_str().unwrap_or("the model's own");
    if let Class::Foreign(name) = class {
        return vec![format!(
            "tokenizer_class {name} splits text in its own way in transformers 5; here tokenizer.json is read as it is"
        )];
    }
    let mut rebuilt = json!({ "normalizer": file["normalizer"], "pre_tokenizer": file["pre_tokenizer"], "model": {} });
    class.rebuild(&mut rebuilt, settings);
    let differs = ["normalizer", "pre_tokenizer"].into_iter().find(|part| !alike(&rebuilt[*part], &file[*part]));
    differs.map_or_else(Vec::new, |part| {
        vec![format!(
            "tokenizer_class {name} has a {part} of its own in transformers 5, which goes before tokenizer.json's, here too"
        )]
    })
}

/// Whether two parts of a `tokenizer.json` say the same, an unnamed default or not.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.iter().all(|(key, value)| other.get(key).is_none_or(|found| alike(value, found)))
                && one.get("type") == other.get("type")
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        _ => one == other,
    }
}

/// The tokens that end a text by any of a model's files, each once; `own` is the tokenizer's.
fn ends(settings: &Settings, own: Option<u32>, generation: &Value, config: Option<&CausalConfig>) -> Vec<u32> {
    // A token that only the class names may be none of the model's.
    let rows = config.map_or(usize::MAX, |config| config.vocabulary);
    let is_meant = |id: &u32| settings.is_in_a_file("eos_token") || (*id as usize) < rows;
    let mut eos: Vec<u32> = own.filter(is_meant).into_iter().collect();
    eos.extend(token_ids(generation.get("eos_token_id")));
    eos.extend(token_ids(config.and_then(|config| config.source.get("eos_token_id"))));
    if eos.is_empty() {
        eos.extend(config.into_iter().flat_map(|config| &config.eos));
    }
    let mut seen = std::collections::BTreeSet::new();
    eos.retain(|id| seen.insert(*id));
    eos
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
