//! The refiner's tokenizer: one token a word.

use tokenizers::Tokenizer;

use super::words::WORDS;
use crate::synthetic::tokens;

pub use crate::synthetic::tokens::END_OF_TEXT;

/// What text is cut into before anything else: the two headings, words and single signs with the space before them.
const PATTERN: &str = r"request:|\nprompt:| ?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";

/// The refiner's tokenizer: each word is one token together with the space before it.
///
/// # Errors
/// Passes on what the `tokenizers` crate makes of [`tokenizer_json`]; it accepts it in every tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json`, as transformers reads it.
pub fn tokenizer_json() -> String {
    let headings = ["request:", "\nprompt:"].map(str::to_owned);
    tokens::tokenizer_json(PATTERN, headings.into_iter().chain(WORDS.iter().map(|word| format!(" {word}"))))
}
