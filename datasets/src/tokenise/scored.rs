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

    /// An answer whose scored turns are those characters. A token of which a part is scored is scored.
    pub(super) fn with_turns(placed: Placed, turns: &[WrittenTurn]) -> Response {
        let Placed { tokens, places } = placed;
        let mut found: Vec<Turn> = Vec::new();
        for WrittenTurn { span, weight, .. } in turns {
            let free = found.last().map_or(0, |turn| turn.range.end);
            let is_inside = |place: &Range<usize>| place.start < span.end && place.end > span.start;
            let Some(first) = places.iter().position(is_inside) else { continue };
            let last = places.iter().rposition(is_inside).unwrap_or(first);
            let first = first.max(free);
            let range = first..(last + 1).max(first);
            if !range.is_empty() {
                found.push(Turn { range, weight: *weight });
            }
        }
        Response::new(tokens, found)
    }
}
