//! The planner's tokenizer: one token a word, one token a code.

use tokenizers::Tokenizer;

use super::code::Code;
use super::request::{Request, WORDS};
use crate::synthetic::tokens;

pub use crate::synthetic::tokens::END_OF_TEXT;

/// What text is cut into before anything else: the two headings, words and single signs with the space before them.
const PATTERN: &str = r"request:|\nframes:| ?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";
const HEADINGS: [&str; 2] = ["request:", "\nframes:"];

/// The planner's tokenizer: each word, and each code, is one token together with the space before it.
///
/// # Errors
/// Passes on what the `tokenizers` crate makes of [`tokenizer_json`]; it accepts it in every tested version.
pub fn tokenizer() -> tokenizers::Result<Tokenizer> {
    Tokenizer::from_bytes(tokenizer_json().as_bytes())
}

/// The tokenizer as the text of a `tokenizer.json`, as transformers reads it. The codes are its last tokens, in order.
pub fn tokenizer_json() -> String {
    let words = WORDS.iter().map(|word| format!(" {word}"));
    let codes = Code::all().map(|code| format!(" {}", spelt(&code)));
    tokens::tokenizer_json(PATTERN, HEADINGS.into_iter().map(str::to_owned).chain(words).chain(codes))
}

/// The token of a code. The tokens of all codes follow one another in the order of their indices, and nothing follows them.
pub fn code_token(code: &Code) -> u32 {
    // The end of the text and every byte come first.
    (1 + 256 + HEADINGS.len() + WORDS.len() + code.index()) as u32
}

/// What the planner reads.
pub fn planner_prompt(request: &Request) -> String {
    format!("request: {}\nframes:", request.text())
}

/// What the planner writes for codes, before the end of its text.
pub fn planner_response(codes: &[Code]) -> String {
    codes.iter().flat_map(|code| [" ".to_owned(), spelt(code)]).collect()
}

fn spelt(code: &Code) -> String {
    format!("k{:02}", code.index())
}
