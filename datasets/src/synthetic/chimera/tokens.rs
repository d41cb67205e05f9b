//! The refiner's tokenizer: one token per word.

use tokenizers::Tokenizer;

use super::words::WORDS;
use crate::synthetic::tokens;

pub use crate::synthetic::tokens::END_OF_TEXT;

/// The pre-tokenisation pattern: the two headings, words and single signs with a leading space.
const PATTERN: &str = r"request:|\nprompt:| ?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";

/// The refiner's tokenizer: each word with its leading space is one token.
///
/// # Errors
/// An error of the `tokenizers` crate for [`tokenizer_json`]; none in any tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json` for transformers.
pub fn tokenizer_json() -> String {
    let headings = ["request:", "\nprompt:"].map(str::to_owned);
    tokens::tokenizer_json(PATTERN, headings.into_iter().chain(WORDS.iter().map(|word| format!(" {word}"))))
}
