//! The tokenizer in a GGUF file.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::vocabulary::{Kind, Vocabulary, ids_by_piece, sentencepiece};
use super::header::{Header, Meta};
use crate::ModelError;

/// Reads the tokenizer; `None` if the file has none.
///
/// # Errors
/// An unknown kind of tokenizer or pre-tokenisation, inconsistent lists.
pub(super) fn read(path: &Path, header: &Header) -> Result<Option<Vocabulary>, ModelError> {
    let source = Source { path, header };
    let Some(Meta::Texts(pieces)) = source.meta("tokens") else { return Ok(None) };
    let kind = source.text("model").unwrap_or("missing");
    let pre = source.text("pre").unwrap_or("default");
    let kinds = source.kinds(pieces.len())?;
    let rows = header.tensors.get("token_embd.weight").map_or(usize::MAX, |info| info.shape[0]);
    if pieces.len() > rows {
        return Err(source.error(format!("{} tokens for {rows} rows of the embedding", pieces.len())));
    }
    let unknown = source.id("unknown_token_id", pieces.len())?;
    let add_prefix = source.flag("add_space_prefix").unwrap_or(true);
    let parts = match kind {
        "gpt2" => source.byte_level(pieces, pre)?,
        "llama" => {
            let scores = source.scores(pieces.len())?;
            let parts = sentencepiece(pieces, &kinds, scores, unknown, add_prefix);
            parts.map_err(|piece| source.error(format!("token `{piece}` comes twice")))?
        }
        other => return Err(source.error(format!("kind `{other}` is not supported; supported: gpt2, llama"))),
    };
    let mut eos: Vec<u32> = Vec::new();
    for key in ["eos_token_id", "eot_token_id"] {
        eos.extend(source.id(key, pieces.len())?.filter(|id| !eos.contains(id)));
    }
    let starts = kind == "llama" || matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
    Ok(Some(Vocabulary {
        bos: source.id("bos_token_id", pieces.len())?,
        eos,
        unknown,
        padding: source.id("padding_token_id", pieces.len())?,
        add_bos: source.flag("add_bos_token").unwrap_or(starts),
        chat_template: match header.metadata.get("tokenizer.chat_template") {
            Some(Meta::Text(template)) => Some(template.clone()),
            _ => None,
        },
        pieces: pieces.clone(),
        kinds,
        parts,
    }))
}

/// A warning about the file's pre-tokenisation, if any.
pub(super) fn note(path: &Path, header: &Header) -> Option<String> {
    let source = Source { path, header };
    let is_unsaid = source.text("model") == Some("gpt2") && matches!(source.text("pre"), None | Some("default"));
    is_unsaid.then(|| {
        "tokenizer.ggml.pre does not say how text is split: as GPT-2 splits it here, and llama.cpp splits some texts otherwise"
            .to_owned()
    })
}

struct Source<'a> {
    path: &'a Path,
    header: &'a Header,
}

impl<'a> Source<'a> {
    fn error(&self, reason: String) -> ModelError {
        ModelError::Tokenizer { path: self.path.to_path_buf(), reason }
    }

    fn meta(&self, key: &str) -> Option<&'a Meta> {
        self.header.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.meta(key) {
            Some(Meta::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.meta(key) {
            Some(Meta::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A token id within the vocabulary; some converters write -1 or 2^32 - 1 for none.
    fn id(&self, key: &str, n: usize) -> Result<Option<u32>, ModelError> {
        match self.meta(key) {
            None | Some(Meta::Integer(-1 | 0xFFFF_FFFF)) => Ok(None),
            Some(Meta::Integer(id)) if (0..n as i64).contains(id) => Ok(Some(*id as u32)),
            Some(other) => Err(self.error(format!("tokenizer.ggml.{key} is {other:?}, and there are {n} tokens"))),
        }
    }

    fn kinds(&self, n: usize) -> Result<Vec<Kind>, ModelError> {
        match self.meta("token_type") {
            None => Ok(vec![Kind::Normal; n]),
            Some(Meta::Integers(codes)) if codes.len() == n => Ok(codes.iter().map(|code| kind(*code)).collect()),
            Some(_) => Err(self.error(format!("tokenizer.ggml.token_type is not a list of {n} numbers"))),
        }
    }

    fn scores(&self, n: usize) -> Result<&'a [f32], ModelError> {
        match self.meta("scores") {
            Some(Meta::Floats(scores)) if scores.len() == n && scores.iter().all(|s| !s.is_nan()) => Ok(scores),
            _ => Err(self.error(format!("tokenizer.ggml.scores must be a list of {n} numbers"))),
        }
    }

    /// The parts of a byte-level BPE tokenizer.
    fn byte_level(&self, pieces: &[String], pre: &str) -> Result<Map<String, Value>, ModelError> {
        let Some(Meta::Texts(merges)) = self.meta("merges") else {
            return Err(self.error("tokenizer.ggml.merges is missing".to_owned()));
        };
        let split = splitting(pre).ok_or_else(|| {
            let known = KNOWN.join(", ");
            self.error(format!("the way of splitting text `{pre}` (tokenizer.ggml.pre) is not known; known: {known}"))
        })?;
        let vocabulary = ids_by_piece(pieces).map_err(|piece| self.error(format!("token `{piece}` comes twice")))?;
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in merges {
            // A piece starts with a literal space only in damaged files: spaces are spelled `Ġ`.
            match merge.split_once(' ') {
                Some((left, right)) if vocabulary.contains_key(left) && vocabulary.contains_key(right) => {
                    pairs.push([left, right]);
                }
                _ => return Err(self.error(format!("merge `{merge}` is not of two tokens"))),
            }
        }
        let model = json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": split.whole_words_first,
            "vocab": vocabulary,
            "merges": pairs,
        });
        let mut parts = Map::new();
        parts.insert("model".to_owned(), model);
        parts.insert("pre_tokenizer".to_owned(), split.pre_tokenizer);
        parts.insert("normalizer".to_owned(), if split.composed { json!({ "type": "NFC" }) } else { Value::Null });
        parts.insert("decoder".to_owned(), byte_level_step(false));
        Ok(parts)
    }
}

fn kind(code: i64) -> Kind {
    match code {
        2 | 3 => Kind::Control,
        4 => Kind::UserDefined,
        6 => Kind::Byte,
        _ => Kind::Normal,
    }
}

/// The pre-tokenisation of a byte-level tokenizer.
struct Splitting {
    pre_tokenizer: Value,
    /// Whether text is normalised to NFC first.
    composed: bool,
    /// Whether a whole word in the vocabulary bypasses the merges (`ignore_merges`).
    whole_words_first: bool,
}

/// The names that [`splitting`] knows.
const KNOWN: [&str; 24] = [
    "default",
    "gpt-2",
    "gpt2",
    "phi-2",
    "mpt",
    "olmo",
    "gptneox",
    "gpt-neox",
    "pythia",
    "dolma",
    "smollm",
    "starcoder",
    "refact",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "smaug-bpe",
    "dbrx",
    "qwen2",
    "deepseek-r1-qwen",
    "qwen2.5",
    "megrez",
    "tekken",
    "gpt-4o",
];

fn splitting(pre: &str) -> Option<Splitting> {
    let simple = |composed| Splitting { pre_tokenizer: byte_level_step(true), composed, whole_words_first: false };
    Some(match pre {
        "default" | "gpt-2" | "gpt2" | "phi-2" => simple(false),
        "mpt" | "olmo" | "gptneox" | "gpt-neox" | "pythia" | "dolma" => simple(true),
        "smollm" | "starcoder" | "refact" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            let steps = json!({ "type": "Sequence", "pretokenizers": [digits, byte_level_step(true)] });
            Splitting { pre_tokenizer: steps, composed: false, whole_words_first: false }
        }
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => {
            Splitting { pre_tokenizer: by_pattern(r"\p{N}{1,3}"), composed: false, whole_words_first: true }
        }
        // OLMo 2's, which splits as Llama 3 does and merges words of the vocabulary like others.
        "dbrx" => Splitting { pre_tokenizer: by_pattern(r"\p{N}{1,3}"), composed: false, whole_words_first: false },
        // Mistral Nemo's and later ones.
        "tekken" => Splitting { pre_tokenizer: by_case("", r"\p{N}"), composed: false, whole_words_first: true },
        // Phi-4-mini's.
        "gpt-4o" => {
            let pre_tokenizer = by_case(&format!("{CONTRACTIONS}?"), r"\p{N}{1,3}");
            Splitting { pre_tokenizer, composed: false, whole_words_first: false }
        }
        "qwen2" | "qwen2.5" | "deepseek-r1-qwen" | "megrez" => {
            Splitting { pre_tokenizer: by_pattern(r"\p{N}"), composed: true, whole_words_first: false }
        }
        _ => return None,
    })
}

fn byte_level_step(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

const CONTRACTIONS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)";

/// The pre-tokenisation of Llama 3 and Qwen2, which differ only in digits.
fn by_pattern(numbers: &str) -> Value {
    let words = r"[^\r\n\p{L}\p{N}]?\p{L}+";
    split_by(&[CONTRACTIONS, words, numbers, r" ?[^\s\p{L}\p{N}]+[\r\n]*"])
}

/// The pre-tokenisation of Mistral Nemo and GPT-4o: a word begins where lower case is followed by upper case.
fn by_case(behind_a_word: &str, numbers: &str) -> Value {
    let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
    let word = |letters: String| format!(r"[^\r\n\p{{L}}\p{{N}}]?{letters}{behind_a_word}");
    let words = [word(format!("{upper}*{lower}+")), word(format!("{upper}+{lower}*"))];
    split_by(&[&words[0], &words[1], numbers, r" ?[^\s\p{L}\p{N}]+[\r\n/]*"])
}

/// Splits at these patterns, then at line breaks and blanks.
fn split_by(patterns: &[&str]) -> Value {
    let pattern = [patterns, &[r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"]].concat().join("|");
    let split = json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    json!({ "type": "Sequence", "pretokenizers": [split, byte_level_step(false)] })
}
