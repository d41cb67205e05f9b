//! Which tokens of a chat's answer are scored.
use std::ops::Range;

use super::{Origin, Tokenise, Tokenization};
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

    /// An answer that is one scored turn.
    pub(super) fn closed(&self, mut tokens: Vec<u32>) -> Response {
        tokens.truncate(tokens.len() - self.n_unsaid(&tokens));
        tokens.into()
    }

    /// Number of tokens at the end of a turn that are not the policy's where a template does not mark what is: separately
    /// tokenised, a turn ends with its end-of-turn token.
    fn n_unsaid(&self, turn: &[u32]) -> usize {
        if self.settings.tokenization == Tokenization::Joint { 0 } else { self.n_blank_behind_end(turn) }
    }

    /// An answer whose scored turns are those characters. A token of which a part is scored is scored.
    pub(super) fn with_turns(&self, placed: Placed, turns: &[WrittenTurn]) -> Response {
        let Placed { mut tokens, places } = placed;
        let mut found: Vec<Turn> = Vec::new();
        for WrittenTurn { span, weight, is_marked } in turns {
            let free = found.last().map_or(0, |turn| turn.range.end);
            let is_inside = |place: &Range<usize>| place.start < span.end && place.end > span.start;
            let Some(first) = places.iter().position(is_inside) else { continue };
            let last = places.iter().rposition(is_inside).unwrap_or(first);
            let first = first.max(free);
            let mut range = first..(last + 1).max(first);
            if !is_marked {
                let n_unsaid = self.n_unsaid(&tokens[range.clone()]);
                if range.end == tokens.len() {
                    tokens.truncate(range.end - n_unsaid);
                }
                range.end -= n_unsaid;
            }
            if !range.is_empty() {
                found.push(Turn { range, weight: *weight });
            }
        }
        Response::new(tokens, found)
    }
}
