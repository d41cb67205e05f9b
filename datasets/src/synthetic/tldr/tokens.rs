//! The tokenizer made for the grammar: one token a word, and bytes for everything else.

use std::ops::Range;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::facts::{Event, Slot, Values};
use super::template::fill;
use super::{post, summary};

/// The token that ends a response; its id is 0.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// What text is cut into before anything else: the prompt's headings, words and numbers with the space before them,
/// and single signs. Every character is part of some match.
const PATTERN: &str = r"SUBREDDIT: r/|\n\n(?:TITLE|POST|TL;DR):| ?\$?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";

/// The tokenizer of the grammar.
///
/// A byte-level model without merges: each word of the grammar is one token together with the space before it, and
/// text of any other kind falls apart into its bytes, so that any text encodes and decodes to itself. Nothing is added
/// around a text; the end of a response is [`END_OF_TEXT`].
///
/// # Errors
/// Passes on what the `tokenizers` crate makes of [`tokenizer_json`]; it accepts it in every tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json`, as transformers reads it.
pub fn tokenizer_json() -> String {
    let mut vocabulary = Map::new();
    let bytes = (0..=u8::MAX).map(|byte| byte_char(byte).to_string());
    for token in std::iter::once(END_OF_TEXT.to_owned()).chain(bytes).chain(words()) {
        let next = vocabulary.len();
        vocabulary.entry(token).or_insert_with(|| next.into());
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false});
    let end_of_text = json!({
        "id": 0, "content": END_OF_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    });
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
        "vocab": Value::Object(vocabulary), "merges": []
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end_of_text], "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level.clone()]},
        "post_processor": null, "decoder": byte_level, "model": model
    })
    .to_string()
}

/// The tokens of `text`, without special tokens, that share a byte with one of the spans.
///
/// The indices are in order and each comes once. Spans and text must belong together: a span outside the text meets no
/// token.
///
/// # Errors
/// Passes on what `tokenizer` cannot encode.
pub fn token_indices(tokenizer: &Tokenizer, text: &str, spans: &[Range<usize>]) -> tokenizers::Result<Vec<usize>> {
    let encoding = tokenizer.encode(text, false)?;
    let meets = |&(start, end): &(usize, usize)| spans.iter().any(|span| start < span.end && span.start < end);
    Ok(encoding
        .get_offsets()
        .iter()
        .enumerate()
        .filter(|(_, offsets)| meets(offsets))
        .map(|(index, _)| index)
        .collect())
}

/// The words of the grammar as the model spells them: headings, values, then what sentences are made of.
fn words() -> impl Iterator<Item = String> {
    let example = Values::from_positions([0; Slot::ALL.len()]);
    let headings = ["SUBREDDIT: r/", "\n\nTITLE:", "\n\nPOST:", "\n\nTL;DR:"].map(str::to_owned);
    let subreddits = Event::ALL.map(|event| event.subreddit().to_owned());
    let values = Slot::ALL.into_iter().flat_map(|slot| {
        let space = if slot == Slot::Age { "" } else { " " };
        slot.values().iter().map(move |value| format!("{space}{value}"))
    });
    let events = Event::ALL.into_iter().flat_map(|event| event.sentences().iter().copied());
    let sentences = events.chain(post::sentences()).chain(post::TITLES.iter().copied());
    let sentences = sentences.map(move |sentence| format!(" {}", fill(sentence, example, example)));
    let written = sentences.chain(summary::fragments()).flat_map(|text| pieces(&text));
    let all = headings.into_iter().chain(subreddits).chain(values).chain(written);
    all.map(|word| word.bytes().map(byte_char).collect())
}

/// Cuts text as [`PATTERN`] does, headings aside.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for character in text.chars() {
        let is_word = character.is_ascii_alphanumeric() || character == '_';
        match pieces.last_mut() {
            Some(last) if last == " " && character != ' ' => last.push(character),
            Some(last) if is_word && last.ends_with(|c: char| c.is_ascii_alphanumeric() || "_$".contains(c)) => {
                last.push(character);
            }
            _ => pieces.push(character.to_string()),
        }
    }
    pieces
}

/// The printable character that stands for a byte in byte-level vocabularies.
///
/// Printable Latin-1 stands for itself; the other 68 bytes take the characters from U+0100 on, in order.
fn byte_char(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !is_printable(other)).count();
    char::from_u32(0x100 + before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}
