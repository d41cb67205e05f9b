//! Which tokens of a chat's answer are scored.
use std::ops::Range;

use super::{Origin, Tokenise};
use crate::chat::WrittenTurn;
use crate::error::DatasetError;
use crate::response::{Response, Turn};

/// Tokens of a part of a text, and the characters of the whole text that each covers.
#[derive(Clone, Debug, Default)]
pub(super) struct Placed {
    pub(super) tokens: Vec<u32>,
    pub(super) places: Vec<Range<usize>>,
}

impl Tokenise {
    /// Encodes a text that stands behind `before` characters of a whole.
    pub(super) fn placed(&self, origin: &Origin, text: &str, before: usize) -> Result<Placed, DatasetError> {
        if text.len() > super::TEXT_LIMIT {
            return Err(DatasetError::LongText { origin: origin.clone(), limit: super::TEXT_LIMIT });
        }
        let encoding = self
            .tokenizer
            .encode_char_offsets(text, false)
            .map_err(|error| DatasetError::Tokenizer { origin: origin.clone(), message: error.to_string() })?;
        let place = |&(start, end): &(usize, usize)| before + start..before + end;
        let places = encoding.get_offsets().iter().map(place).collect();
        Ok(Placed { tokens: encoding.get_ids().to_vec(), places })
    }

    /// An answer whose scored turns are those characters. White space behind an end-of-turn token is the template's, unless
    /// its own block holds it.
    pub(super) fn with_turns(&self, placed: Placed, turns: &[WrittenTurn]) -> Response {
        let Placed { tokens, places } = placed;
        let mut found: Vec<Turn> = Vec::new();
        for WrittenTurn { span, weight, is_marked } in turns {
            let free = found.last().map_or(0, |turn| turn.range.end);
            let is_inside = |place: &Range<usize>| place.start < span.end && place.end > span.start;
            let Some(first) = places.iter().position(is_inside) else { continue };
            let last = places.iter().rposition(is_inside).unwrap_or(first);
            let first = first.max(free);
            let turn = first..(last + 1).max(first);
            let range = first..if *is_marked { turn.end } else { self.turn_end(&tokens, turn) };
            if !range.is_empty() {
                found.push(Turn { range, weight: *weight });
            }
        }
        Response::new(tokens, found)
    }

    /// The end of a turn without the white space behind its end token.
    fn turn_end(&self, tokens: &[u32], turn: Range<usize>) -> usize {
        let written = &tokens[turn.clone()];
        turn.end - if turn.end < tokens.len() { self.n_blank_behind_end(written) } else { 0 }
    }
}
