//! The tokenizer made for the grammar: one token a word, and bytes for everything else.

use std::ops::Range;

use tokenizers::Tokenizer;

use super::facts::{Event, Slot, Values};
use super::template::fill;
use super::{post, summary};
use crate::synthetic::tokens;

pub use crate::synthetic::tokens::END_OF_TEXT;

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
    tokens::tokenizer_json(PATTERN, words())
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
    headings.into_iter().chain(subreddits).chain(values).chain(written)
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
