//! The planner's tokenizer: one token per word, one token per code.

use tokenizers::Tokenizer;

use super::code::Code;
use super::request::{Request, WORDS};
use crate::synthetic::tokens;

pub use crate::synthetic::tokens::END_OF_TEXT;

/// The pre-tokenisation pattern: the two headings, words and single signs with a leading space.
const PATTERN: &str = r"request:|\nframes:| ?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";
const HEADINGS: [&str; 2] = ["request:", "\nframes:"];

/// The planner's tokenizer: each word, and each code, with its leading space is one token.
///
/// # Errors
/// An error of the `tokenizers` crate for [`tokenizer_json`]; none in any tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json` for transformers. The codes are its last tokens, in order.
pub fn tokenizer_json() -> String {
    let words = WORDS.iter().map(|word| format!(" {word}"));
    let codes = Code::all().map(|code| format!(" {}", spelt(&code)));
    tokens::tokenizer_json(PATTERN, HEADINGS.into_iter().map(str::to_owned).chain(words).chain(codes))
}

/// The token id of a code. Codes have consecutive ids in index order, at the end of the vocabulary.
pub fn code_token(code: &Code) -> u32 {
    tokens::FIRST_WORD + (HEADINGS.len() + WORDS.len() + code.index()) as u32
}

/// The planner's prompt for a request.
pub fn planner_prompt(request: &Request) -> String {
    format!("request: {}\nframes:", request.text())
}

/// The planner's response for codes, without EOS.
pub fn planner_response(codes: &[Code]) -> String {
    codes.iter().flat_map(|code| [" ".to_owned(), spelt(code)]).collect()
}

fn spelt(code: &Code) -> String {
    format!("k{:02}", code.index())
}
