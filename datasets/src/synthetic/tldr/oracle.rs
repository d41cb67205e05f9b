//! The oracle: scores summaries.

use std::ops::Range;

use super::ComparisonOutcome;
use super::facts::{Facts, Slot};

/// Scores any text against the facts of a post.
///
/// The text is split into words. A word names a fact if it is one of [`Slot::values`] (ignoring case); any dollar
/// amount names [`Slot::Amount`] and any other number [`Slot::Age`], listed or not. A fact is *right* if its value is
/// named anywhere, *missing* otherwise, and every other value named for it is *wrong*, counted once each.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// The check of one fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactCheck {
    /// The fact.
    pub slot: Slot,
    /// Whether the right value is named.
    pub told: bool,
    /// The wrong values named, in order of appearance, each once.
    pub wrong: Vec<String>,
}

/// The score of a summary, and its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryScore {
    /// Number of right facts, of the seven of [`Slot::ALL`].
    pub right: usize,
    /// Number of wrong values.
    pub wrong: usize,
    /// Number of missing facts: `7 - right`.
    pub missing: usize,
    /// The length in words.
    pub words: usize,
    /// The score; 1 is the best, and an empty text has 0.
    ///
    /// `score = (right - wrong) / 7 - 0.05 * max(0, words - 18)`
    pub score: f64,
    /// The check of each fact, in the order of [`Slot::ALL`].
    pub checks: Vec<FactCheck>,
}

impl Oracle {
    /// Number of words without a length penalty; no good summary has more.
    pub const WORD_LIMIT: usize = 18;
    /// Penalty per word over the limit.
    pub const WORD_PRICE: f64 = 0.05;

    /// Scores a text by the facts of its post.
    pub fn score(facts: &Facts, text: &str) -> SummaryScore {
        let mut checks: Vec<FactCheck> =
            Slot::ALL.into_iter().map(|slot| FactCheck { slot, told: false, wrong: Vec::new() }).collect();
        for (slot, value) in words(text).filter_map(|(_, word)| Some((slot_of(&word)?, word))) {
            let verdict = &mut checks[slot as usize];
            if value.eq_ignore_ascii_case(facts.story.get(slot)) {
                verdict.told = true;
            } else if !verdict.wrong.iter().any(|known| value.eq_ignore_ascii_case(known)) {
                verdict.wrong.push(value);
            }
        }
        let right = checks.iter().filter(|verdict| verdict.told).count();
        let wrong = checks.iter().map(|verdict| verdict.wrong.len()).sum();
        let words = text.split_whitespace().count();
        let excess = words.saturating_sub(Self::WORD_LIMIT);
        let n_facts = Slot::ALL.len();
        let score = (right as f64 - wrong as f64) / n_facts as f64 - Self::WORD_PRICE * excess as f64;
        SummaryScore { right, wrong, missing: n_facts - right, words, score, checks }
    }

    /// The spans of the wrong facts of a text, in characters and in order: every mention of a value that is not the
    /// story's. An omission has no place in a text, and no span.
    pub fn wrong_spans(facts: &Facts, text: &str) -> Vec<Range<usize>> {
        let is_wrong = |word: &str| slot_of(word).is_some_and(|slot| !word.eq_ignore_ascii_case(facts.story.get(slot)));
        let wrong = words(text).filter(|(_, word)| is_wrong(word)).map(|(bytes, _)| bytes);
        let characters = |end: usize| text[..end].chars().count();
        wrong.map(|bytes| characters(bytes.start)..characters(bytes.end)).collect()
    }

    /// Compares two texts about the same post by score.
    pub fn compare(facts: &Facts, first: &str, second: &str) -> ComparisonOutcome {
        Self::score(facts, first).score.total_cmp(&Self::score(facts, second).score).into()
    }
}

/// The words of a text with their byte ranges: runs of letters and digits; a dollar sign stays with its amount, and
/// commas inside amounts are removed.
fn words(text: &str) -> impl Iterator<Item = (Range<usize>, String)> {
    let runs = pieces(text, 0, |c| !c.is_alphanumeric() && c != '$' && c != ',');
    runs.flat_map(|(start, run)| {
        if run.starts_with('$') {
            let end = start + run.trim_end_matches(',').len();
            return vec![(start..end, run.replace(',', ""))];
        }
        pieces(run, start, |c| c == ',').map(|(start, word)| (start..start + word.len(), word.to_owned())).collect()
    })
    .filter(|(_, word)| !word.is_empty())
}

/// The parts of a text between separators, each with its byte position; the text itself stands at `offset`.
fn pieces(text: &str, offset: usize, is_separator: fn(char) -> bool) -> impl Iterator<Item = (usize, &str)> {
    text.split(is_separator).map(move |piece| (offset + (piece.as_ptr() as usize - text.as_ptr() as usize), piece))
}

/// The slot that a word names, if any.
fn slot_of(word: &str) -> Option<Slot> {
    let digits = word.trim_start_matches('$');
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(if digits.len() < word.len() { Slot::Amount } else { Slot::Age });
    }
    Slot::ALL.into_iter().find(|slot| slot.values().iter().any(|value| value.eq_ignore_ascii_case(word)))
}
