//! The tokenizer: one token per word.

use tokenizers::Tokenizer;

use super::question::{CITIES, PEOPLE, Question, Register, THINGS, TRADES};
use crate::synthetic::tokens::{self, FIRST_WORD};

pub use crate::synthetic::tokens::END_OF_TEXT;

/// The words of calls, replies and answers besides names.
pub(super) const LOOK: &str = "look";
pub(super) const CALL_END: &str = ";";
pub(super) const FOUND: &str = "found";
pub(super) const NOTHING: &str = "nothing";
pub(super) const REPLY_END: &str = ".";
pub(super) const ANSWER: &str = "answer";

const HEADINGS: [&str; 2] = ["day:", "\nagent:"];

/// Words of questions, and digits.
const ASKING: [&str; 18] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "where", "lives", "how", "earns", "who", "bought", "built", "the",
];

/// The pre-tokenisation pattern: the two headings, words and single signs with a leading space.
const PATTERN: &str = r"day:|\nagent:| ?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";

/// Every word, in the order of the tokens.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    let signs = [LOOK, CALL_END, FOUND, NOTHING, REPLY_END, ANSWER];
    let registers = Register::ALL.map(Register::word);
    signs.into_iter().chain(ASKING).chain(registers).chain(PEOPLE).chain(THINGS).chain(CITIES).chain(TRADES)
}

/// The tokenizer.
///
/// # Errors
/// An error of the `tokenizers` crate for [`tokenizer_json`]; none in any tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json` for transformers: each word with its leading space is one token.
pub fn tokenizer_json() -> String {
    let words = words().map(|word| format!(" {word}"));
    tokens::tokenizer_json(PATTERN, HEADINGS.into_iter().map(str::to_owned).chain(words))
}

/// The tokens of a question's prompt, with a heading for the agent.
pub fn prompt_tokens(question: &Question) -> Vec<u32> {
    let text = question.to_string();
    std::iter::once(FIRST_WORD).chain(text.split(' ').map(token)).chain([FIRST_WORD + 1]).collect()
}

/// The text of a response with its replies; EOS is left out, and a token that is no word is a question mark.
pub fn response_text(tokens: &[u32]) -> String {
    let words = tokens.iter().filter(|token| **token != 0).map(|token| word(*token).unwrap_or("?"));
    words.flat_map(|word| [" ", word]).collect()
}

/// The token of a word.
///
/// # Panics
/// If it is not one of this grammar.
pub(super) fn token(word: &str) -> u32 {
    let at = words().position(|known| known == word);
    FIRST_WORD + HEADINGS.len() as u32 + at.map_or_else(|| panic!("{word} is no word of the grammar"), |at| at as u32)
}

/// The word of a token; `None` if it is none.
pub(super) fn word(token: u32) -> Option<&'static str> {
    let index = token.checked_sub(FIRST_WORD + HEADINGS.len() as u32)?;
    words().nth(index as usize)
}
