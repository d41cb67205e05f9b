//! The tokenizer: one token per word.

use super::reply::{Reply, THINGS};
use crate::synthetic::tokens::{self, FIRST_WORD};

pub use crate::synthetic::tokens::END_OF_TEXT;

/// The words of both speakers. A user's turn ends with the sign that it is the clerk's.
const WORDS: [&str; 6] = ["user", "brings", "clerk", "gladly", "grudgingly", "keeps"];

/// The pre-tokenisation pattern: words and single signs with a leading space.
const PATTERN: &str = r" ?[A-Za-z0-9_]+| ?[^A-Za-z0-9_]";

/// The tokenizer as the text of a `tokenizer.json` for transformers: each word with its leading space is one token.
pub fn tokenizer_json() -> String {
    tokens::tokenizer_json(PATTERN, WORDS.iter().chain(&THINGS).map(|word| format!(" {word}")))
}

/// The token of a word of [`WORDS`], by its place there.
const fn token(word: u32) -> u32 {
    FIRST_WORD + word
}

fn thing(index: usize) -> u32 {
    token((WORDS.len() + index) as u32)
}

/// The tokens of a user's turn, with the sign that it is the clerk's.
pub fn question_tokens(brought: usize) -> [u32; 4] {
    [token(0), token(1), thing(brought), token(2)]
}

/// The tokens of a reply, EOS included.
pub fn reply_tokens(reply: &Reply) -> Vec<u32> {
    let manner = token(if reply.is_polite { 3 } else { 4 });
    [manner, token(5)].into_iter().chain(reply.list.iter().map(|index| thing(*index))).chain([0]).collect()
}

/// Reads a reply's tokens; `None` if they are no such thing.
pub fn read(reply: &[u32]) -> Option<Reply> {
    let [manner, keeps, list @ .., 0] = reply else { return None };
    let is_polite = *manner == token(3);
    if !is_polite && *manner != token(4) || *keeps != token(5) {
        return None;
    }
    let index = |token: &u32| token.checked_sub(thing(0)).map(|at| at as usize).filter(|at| *at < THINGS.len());
    Some(Reply { is_polite, list: list.iter().map(index).collect::<Option<_>>()? })
}
