//! Tokenizer files in Hugging Face's format, from the vocabularies of other formats.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::Extras;

/// The kind of a token of a foreign vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, or one byte.
    Normal,
    /// A special token, never produced from text; omitted in decoding.
    Control,
    /// Matched in text as a whole, before anything else.
    UserDefined,
    /// `<0xNN>`.
    Byte,
}

/// A vocabulary in Hugging Face's form.
#[derive(Clone, Debug)]
pub(super) struct Vocabulary {
    /// Pieces by id, spelled as in a `tokenizer.json`.
    pub(super) pieces: Vec<String>,
    /// The kind of each piece.
    pub(super) kinds: Vec<Kind>,
    /// `model`, `normalizer`, `pre_tokenizer` and `decoder` of the `tokenizer.json`.
    pub(super) parts: Map<String, Value>,
    pub(super) bos: Option<u32>,
    /// The EOS tokens: the first one ends a response; each of them stops generation.
    pub(super) eos: Vec<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) padding: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) chat_template: Option<String>,
}

impl Vocabulary {
    /// Adds the special tokens to a model's config.
    pub(super) fn describe(&self, config: &mut Value) {
        config["bos_token_id"] = json!(self.bos);
        config["eos_token_id"] = ids(&self.eos);
    }

    /// Writes the files that transformers and [`super::ModelTokenizer`] read.
    pub(super) fn into_extras(self) -> Extras {
        let mut extras = Extras::default();
        extras.insert_json("tokenizer_config.json", &self.settings());
        extras.insert_json(
            "generation_config.json",
            &json!({ "bos_token_id": self.bos, "eos_token_id": ids(&self.eos), "pad_token_id": self.padding }),
        );
        extras.insert_json("tokenizer.json", &self.into_tokenizer());
        extras
    }

    fn piece(&self, id: Option<u32>) -> Option<&str> {
        id.and_then(|id| self.pieces.get(id as usize)).map(String::as_str)
    }

    fn settings(&self) -> Value {
        let mut settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": self.add_bos,
            "clean_up_tokenization_spaces": false,
        });
        let special = [
            ("bos_token", self.bos),
            ("eos_token", self.eos.first().copied()),
            ("unk_token", self.unknown),
            ("pad_token", self.padding),
        ];
        for (key, id) in special {
            if let Some(piece) = self.piece(id) {
                settings[key] = json!(piece);
            }
        }
        if let Some(template) = &self.chat_template {
            settings["chat_template"] = json!(template);
        }
        settings
    }

    fn into_tokenizer(mut self) -> Value {
        let added: Vec<Value> = self
            .pieces
            .iter()
            .zip(&self.kinds)
            .enumerate()
            .filter(|(_, (_, kind))| matches!(kind, Kind::Control | Kind::UserDefined))
            .map(|(id, (piece, kind))| {
                json!({ "id": id, "content": piece, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind == Kind::Control })
            })
            .collect();
        let processor = match self.piece(self.bos).filter(|_| self.add_bos) {
            Some(bos) => begins_with(bos, self.bos),
            None => Value::Null,
        };
        let mut part = |name: &str| self.parts.remove(name).unwrap_or(Value::Null);
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": part("normalizer"),
            "pre_tokenizer": part("pre_tokenizer"),
            "post_processor": processor,
            "decoder": part("decoder"),
            "model": part("model"),
        })
    }
}

/// One id as a number, several as a list.
fn ids(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

/// A post-processor that prepends BOS when special tokens are requested.
fn begins_with(bos: &str, id: Option<u32>) -> Value {
    let token = |type_id: u32| json!({ "SpecialToken": { "id": bos, "type_id": type_id } });
    let text = |name: &str, type_id: u32| json!({ "Sequence": { "id": name, "type_id": type_id } });
    json!({
        "type": "TemplateProcessing",
        "single": [token(0), text("A", 0)],
        "pair": [token(0), text("A", 0), token(1), text("B", 1)],
        "special_tokens": { bos: { "id": bos, "ids": [id], "tokens": [bos] } },
    })
}

/// Reads pieces into the `vocab` of a model; `Err` has a duplicate piece.
pub(super) fn ids_by_piece(pieces: &[String]) -> Result<Map<String, Value>, String> {
    let mut vocabulary = Map::new();
    for (id, piece) in pieces.iter().enumerate() {
        if vocabulary.insert(piece.clone(), json!(id)).is_some() {
            return Err(piece.clone());
        }
    }
    Ok(vocabulary)
}

/// The components of a SentencePiece-style BPE tokenizer: spaces are `▁`, characters without a piece are spelled in
/// bytes, and the adjacent pair that forms the piece of the highest score is merged first.
///
/// `scores[i]` belongs to `pieces[i]`; `add_prefix` prepends a space to every text.
///
/// # Errors
/// A duplicate piece.
pub(super) fn sentencepiece(
    pieces: &[String],
    kinds: &[Kind],
    scores: &[f32],
    unknown: Option<u32>,
    add_prefix: bool,
) -> Result<Map<String, Value>, String> {
    let model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown.and_then(|id| pieces.get(id as usize)),
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": true,
        "byte_fallback": true,
        "ignore_merges": false,
        "vocab": ids_by_piece(pieces)?,
        "merges": merges_by_score(pieces, kinds, scores),
    });
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let mut normalizers = vec![replace(" ", "▁")];
    let mut decoders = vec![replace("▁", " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    if add_prefix {
        normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let mut parts = Map::new();
    parts.insert("model".to_owned(), model);
    parts.insert("normalizer".to_owned(), json!({ "type": "Sequence", "normalizers": normalizers }));
    parts.insert("decoder".to_owned(), json!({ "type": "Sequence", "decoders": decoders }));
    Ok(parts)
}

/// All merges of two pieces to a third, best score first.
///
/// The order of two merges to the same piece does not affect the result.
fn merges_by_score(pieces: &[String], kinds: &[Kind], scores: &[f32]) -> Vec<[String; 2]> {
    // No valid piece is that long; a damaged file's may be, and all its splits would be tried.
    const LONGEST: usize = 1024;
    let usable = |id: usize| matches!(kinds[id], Kind::Normal | Kind::UserDefined) && pieces[id].len() <= LONGEST;
    let normal: HashMap<&str, usize> =
        pieces.iter().enumerate().filter(|(id, _)| usable(*id)).map(|(id, piece)| (piece.as_str(), id)).collect();
    let mut merges = Vec::new();
    for (piece, &id) in &normal {
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(&l), Some(&r)) = (normal.get(left), normal.get(right)) {
                merges.push((id, l, r));
            }
        }
    }
    merges.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
    merges.into_iter().map(|(_, l, r)| [pieces[l].clone(), pieces[r].clone()]).collect()
}
