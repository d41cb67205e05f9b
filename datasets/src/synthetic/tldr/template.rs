//! Sentence templates with placeholders: filling and parsing.

use super::facts::{Slot, Values};

/// A placeholder: `{name}` is the story's, `{name2}` the distraction's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hole {
    slot: Slot,
    distraction: bool,
}

/// Splits a template into literals, each with the placeholder after it.
fn pieces(template: &'static str) -> impl Iterator<Item = (&'static str, Option<Hole>)> {
    template.split('}').map(|piece| match piece.split_once('{') {
        None => (piece, None),
        Some((literal, name)) => {
            let slot = Slot::from_name(name.trim_end_matches('2'));
            (literal, slot.map(|slot| Hole { slot, distraction: name.ends_with('2') }))
        }
    })
}

/// Fills a template.
pub(super) fn fill(template: &'static str, story: Values, distraction: Values) -> String {
    let mut text = String::with_capacity(template.len());
    for (literal, hole) in pieces(template) {
        text.push_str(literal);
        if let Some(hole) = hole {
            text.push_str(if hole.distraction { distraction.get(hole.slot) } else { story.get(hole.slot) });
        }
    }
    text
}

/// The values parsed so far, by person and slot.
#[derive(Clone, Default)]
pub(super) struct Readings([[Option<u8>; Slot::ALL.len()]; 2]);

impl Readings {
    /// Story and distraction, once every value is known.
    pub(super) fn complete(&self) -> Option<(Values, Values)> {
        let [story, distraction] = self.0.map(complete);
        Some((story?, distraction?))
    }

    /// Records a value; false if it contradicts an earlier one.
    fn note(&mut self, hole: Hole, value: u8) -> bool {
        *self.0[usize::from(hole.distraction)][hole.slot as usize].get_or_insert(value) == value
    }
}

/// The values, if complete.
fn complete(readings: [Option<u8>; Slot::ALL.len()]) -> Option<Values> {
    let mut positions = [0; Slot::ALL.len()];
    for (position, reading) in positions.iter_mut().zip(readings) {
        *position = reading?;
    }
    Some(Values::from_positions(positions))
}

/// Parses a filled template at the start of `text`; returns the rest of the text and the updated values.
pub(super) fn read<'t>(template: &'static str, text: &'t str, readings: &Readings) -> Option<(&'t str, Readings)> {
    let mut rest = text;
    let mut readings = readings.clone();
    for (literal, hole) in pieces(template) {
        rest = rest.strip_prefix(literal)?;
        if let Some(hole) = hole {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '$').unwrap_or(rest.len());
            let value = hole.slot.values().iter().position(|value| *value == &rest[..end])?;
            readings.note(hole, value as u8).then_some(())?;
            rest = &rest[end..];
        }
    }
    Some((rest, readings))
}
