//! The tokenizer: one token per digit, sign and word.

use tokenizers::Tokenizer;

use super::expression::{Expression, Solution};
use crate::synthetic::tokens::{self, FIRST_WORD};

pub use crate::synthetic::tokens::END_OF_TEXT;

/// Every word of expressions and answers, in the order of their tokens.
pub const WORDS: [&str; 16] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "+", "-", "x", "=", ";", "answer"];

/// Number of tokens of a worked step; its result is the last but one.
pub const STEP_TOKENS: usize = 6;

const HEADINGS: [&str; 2] = ["sum:", "\nsteps:"];

/// The pre-tokenisation pattern: the two headings, words and single signs with a leading space.
const PATTERN: &str = r"sum:|\nsteps:| ?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";

/// The tokenizer.
///
/// # Errors
/// An error of the `tokenizers` crate for [`tokenizer_json`]; none in any tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json` for transformers: each word with its leading space is one token.
pub fn tokenizer_json() -> String {
    let words = WORDS.iter().map(|word| format!(" {word}"));
    tokens::tokenizer_json(PATTERN, HEADINGS.into_iter().map(str::to_owned).chain(words))
}

/// The tokens of an expression's prompt, `sum: 3 + 8 x 2 - 5 + 1` and a heading for the steps.
pub fn prompt_tokens(expression: &Expression) -> Vec<u32> {
    let words = expression.to_string();
    std::iter::once(FIRST_WORD).chain(ids(&words)).chain([FIRST_WORD + 1]).collect()
}

/// The tokens of a response, EOS included.
pub fn response_tokens(expression: &Expression, solution: &Solution) -> Vec<u32> {
    ids(&solution.text(expression)).chain([0]).collect()
}

/// The text of a response; EOS is left out, and a token that is no word is a question mark.
pub fn response_text(tokens: &[u32]) -> String {
    let word = |token: u32| {
        let index = token.checked_sub(FIRST_WORD + HEADINGS.len() as u32);
        index.and_then(|index| WORDS.get(index as usize).copied()).unwrap_or("?")
    };
    tokens.iter().filter(|token| **token != 0).flat_map(|token| [" ", word(*token)]).collect()
}

fn ids(text: &str) -> impl Iterator<Item = u32> + '_ {
    let id = |word: &str| WORDS.iter().position(|known| *known == word).map(|at| at as u32 + HEADINGS.len() as u32);
    text.split_whitespace().filter_map(id).map(|index| FIRST_WORD + index)
}
