//! The grammar's tokenizer: one token per word, and bytes for other text.

use std::ops::Range;

use tokenizers::Tokenizer;

use super::facts::{Event, Slot, Values};
use super::template::fill;
use super::{post, summary};
use crate::synthetic::tokens;

pub use crate::synthetic::tokens::END_OF_TEXT;

/// The pre-tokenisation pattern: the prompt's headings, words and numbers with a leading space, and single signs. Every
/// character is part of a match.
const PATTERN: &str = r"SUBREDDIT: r/|\n\n(?:TITLE|POST|TL;DR):| ?\$?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";

/// The tokenizer of the grammar.
///
/// A byte-level model without merges: each word of the grammar with its leading space is one token, and other text
/// falls back to bytes, so that any text round-trips. No special tokens are added; a response ends with
/// [`END_OF_TEXT`].
///
/// # Errors
/// An error of the `tokenizers` crate for [`tokenizer_json`]; none in any tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json` for transformers.
pub fn tokenizer_json() -> String {
    tokens::tokenizer_json(PATTERN, words())
}

/// The indices of the tokens of `text`, without special tokens, that overlap one of the byte ranges.
///
/// The indices are sorted and distinct. A range outside the text overlaps no token.
///
/// # Errors
/// `tokenizer` cannot encode the text.
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

/// The words of the grammar with their leading spaces: headings, values, then words of sentences.
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
    headings.into_iter().chain(subreddits).chain(values).chain(written)
}

/// Splits text as [`PATTERN`] does, except for headings.
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
