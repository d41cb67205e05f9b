//! A model's tokenizer with its special tokens, prefix and chat templates.
//!
//! All text for a model is tokenised by [`ModelTokenizer`], which agrees with transformers 5 on the same folder:
//! `class` is the effect of the declared class on `tokenizer.json`, `settings` the special and added tokens in their
//! old and new places, `templates` the chat templates, `spelling` the decoding to bytes, `agree` the saved generation
//! settings.

mod agree;
mod class;
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
use class::TokenizerClass;
use settings::Settings;
use spelling::Spelling;

/// The maximum text size in bytes: a tokenizer takes some hundred bytes of memory per byte of text.
const TEXT_LIMIT: usize = 2 << 20;

/// A tokenizer as the model's files define it.
#[derive(Clone, Debug)]
pub struct ModelTokenizer {
    /// Its path, for messages.
    pub path: PathBuf,
    /// The EOS tokens. The first one is appended to a response; each of them stops generation.
    pub eos: Vec<u32>,
    /// The BOS token, if there is one; `prefix` has it if texts start with it.
    pub bos: Option<u32>,
    /// The tokens that the post-processor prepends to every non-chat text.
    pub prefix: Vec<u32>,
    /// The special tokens by name (`eos_token`, `pad_token`, custom ones), as chat templates see them.
    pub named_tokens: BTreeMap<String, String>,
    /// All chat templates (Jinja) by name; `default` is used unless another is selected.
    pub chat_templates: BTreeMap<String, String>,
    /// Variables of the chat templates that the settings give, in place of a record's own.
    pub template_arguments: serde_json::Map<String, Value>,
    /// Notes on how the files were read, for the user.
    pub notes: Vec<String>,
    tokenizer: Tokenizer,
    spelling: Spelling,
}

impl ModelTokenizer {
    /// Builds the tokenizer from a model's files; `None` if there is no `tokenizer.json`.
    ///
    /// `folder` is for messages; `config` is the model's, if known. The EOS tokens are the tokenizer's own, then those
    /// of `generation_config.json`, then those stated in `config.json`; the default of the model's class is used only
    /// if none of them has one.
    ///
    /// # Errors
    /// Broken JSON in one of the files, an invalid tokenizer, a special token that is not a text.
    pub fn from_extras(
        folder: &Path,
        extras: &Extras,
        config: Option<&CausalConfig>,
    ) -> Result<Option<Self>, ModelError> {
        let model = config.map_or(&Value::Null, |config| &config.source);
        let of = |key: &str| model[key].as_str();
        Self::build(folder, extras, config, of("model_type").unwrap_or_default(), of("tokenizer_class"))
    }

    /// Builds the tokenizer of files that define pre-tokenisation themselves, for any model: those beside an adapter,
    /// whose folder has no `config.json`, and those converted from a single file of another format. The class is the
    /// one that the tokenizer's own files declare.
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
        let class = TokenizerClass::choose(model_type, declared, contains(bytes, b"\"ByteLevel\""));
        settings.complete(&class);
        let notes = notes(&class, &file, &settings.source);
        class.rebuild(&mut file, &settings.source);
        let spelling = Spelling::of_decoder(&file["decoder"]);
        // Files that the class uses unchanged need no rewriting.
        let tokenizer = if class.keeps_file() {
            build(&path, bytes, &settings)?
        } else {
            build(&path, file.to_string().as_bytes(), &settings)?
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
            template_arguments: serde_json::Map::new(),
            path,
            eos,
            bos,
            named_tokens,
            notes,
            tokenizer,
            spelling,
        }))
    }

    /// The chat template for a conversation with or without tools, by transformers' rule: `tool_use` if there are tools
    /// and such a template, else the default, or the only one.
    pub fn chat_template(&self, with_tools: bool) -> Option<&str> {
        let tools = with_tools.then(|| self.chat_templates.get("tool_use")).flatten();
        let only = || (self.chat_templates.len() == 1).then(|| self.chat_templates.values().next()).flatten();
        tools.or_else(|| self.chat_templates.get("default")).or_else(only).map(String::as_str)
    }

    /// Tokenises text without adding tokens.
    ///
    /// # Errors
    /// A tokenizer error, or a text above the size limit.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        if text.len() > TEXT_LIMIT {
            return Err(self.error(format!("a text is {} bytes long, and at most {TEXT_LIMIT} are read", text.len())));
        }
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|e| self.error(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Decodes tokens to text, without special tokens.
    ///
    /// # Errors
    /// A tokenizer error.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.tokenizer.decode(ids, true).map_err(|e| self.error(e.to_string()))
    }

    /// Decodes tokens to bytes, which may be invalid UTF-8, without special tokens.
    ///
    /// # Errors
    /// A tokenizer error.
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

    /// The id of a token by its text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The piece of a token as the vocabulary spells it.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The vocabulary size, added tokens included.
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

/// A text encoder's tokenizer with its settings.
pub(crate) struct ClipParts {
    pub(crate) tokenizer: Tokenizer,
    /// The padding token.
    pub(crate) padding: Option<u32>,
    /// `tokenizer_config.json`, with what `special_tokens_map.json` overrides in it.
    pub(crate) settings: Value,
}

/// The tokenizer of a folder by the class `named`; `file` is its `tokenizer.json` or a conversion of older files.
/// Without a name it is the class that the folder declares, and `CLIPTokenizer` if it declares none; that class takes
/// only byte pairs.
///
/// # Errors
/// Broken JSON, an invalid tokenizer, special tokens outside its vocabulary.
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
        TokenizerClass::Clip
    } else {
        TokenizerClass::choose("", declared, file.to_string().contains("\"ByteLevel\""))
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
    if class == TokenizerClass::Clip {
        begin_and_end(&mut file, &settings);
    }
    let tokenizer = build(path, file.to_string().as_bytes(), &settings)?;
    let padding = settings.named_token("pad_token").and_then(|token| tokenizer.token_to_id(token));
    Ok(ClipParts { tokenizer, padding, settings: settings.source })
}

/// Sets CLIP's post-processor: begin and end tokens around texts.
fn begin_and_end(file: &mut Value, settings: &Settings) {
    let end = |name: &str| json!([settings.named_token(name), id_of(file, settings, name)]);
    let (begin, end) = (end("bos_token"), end("eos_token"));
    file["post_processor"] = json!({ "type": "RobertaProcessing", "cls": begin, "sep": end, "trim_offsets": false,
        "add_prefix_space": false });
    file["model"]["unk_token"] = json!(settings.named_token("unk_token"));
}

/// The id of a named token, in the vocabulary or among the added tokens.
fn id_of(file: &Value, settings: &Settings, name: &str) -> Option<u64> {
    let text = settings.named_token(name)?;
    let added = || settings.added.iter().find(|(_, token)| token.content == text).map(|(id, _)| u64::from(*id));
    file["model"]["vocab"][text].as_u64().or_else(added)
}

/// Whether a vocabulary (an object of pieces, or a list of pieces with scores) has a piece.
fn has_piece(vocabulary: &Value, text: &str) -> bool {
    match vocabulary {
        Value::Array(pieces) => pieces.iter().any(|piece| piece[0] == text || *piece == text),
        other => other.get(text).is_some(),
    }
}

/// Builds the tokenizer and adds missing tokens that the files beside it name.
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

/// The tokens that the post-processor prepends, found by encoding non-empty texts.
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

/// Notes where the class tokenises differently from the file, or is not supported.
fn notes(class: &TokenizerClass, file: &Value, settings: &Value) -> Vec<String> {
    let name = settings["tokenizer_class"].as_str().unwrap_or("the model's own");
    if let TokenizerClass::Foreign(name) = class {
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

/// Whether two parts of a `tokenizer.json` are equal, up to omitted defaults.
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

/// The EOS tokens of a model's files, each once; `own` is the tokenizer's.
fn ends(settings: &Settings, own: Option<u32>, generation: &Value, config: Option<&CausalConfig>) -> Vec<u32> {
    // A token that only the class names may be outside the model's vocabulary.
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
