//! The judge that knows the answers.

use super::Outcome;
use super::facts::{Facts, Slot};

/// Scores any text against the facts of a post.
///
/// The text is read word by word. A word names a fact when it is one of [`Slot::values`] (letter case aside); any sum
/// in dollars names [`Slot::Amount`] and any other number [`Slot::Age`], listed or not. A fact is *right* when its
/// value is named anywhere, *missing* otherwise, and every other value named for it is *wrong*, counted once each.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// What became of one fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which fact.
    pub slot: Slot,
    /// Whether the right value is told.
    pub told: bool,
    /// The wrong values told, in order of appearance, each once.
    pub wrong: Vec<String>,
}

/// What the oracle makes of a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// How many facts are told right, of the seven of [`Slot::ALL`].
    pub right: usize,
    /// How many wrong values are told.
    pub wrong: usize,
    /// How many facts are not told right: `7 - right`.
    pub missing: usize,
    /// The length in words.
    pub words: usize,
    /// The judgement as one number; 1 is the best, and a text that says nothing has 0.
    ///
    /// `score = (right - wrong) / 7 - 0.05 * max(0, words - 18)`
    pub score: f64,
    /// What became of each fact, in the order of [`Slot::ALL`].
    pub verdicts: Vec<Verdict>,
}

impl Oracle {
    /// Words a summary may have before its length counts against it; no good summary has more.
    pub const WORD_LIMIT: usize = 18;
    /// What each word over the limit costs.
    pub const WORD_PRICE: f64 = 0.05;

    /// Judges a text by the facts of its post.
    pub fn score(facts: &Facts, text: &str) -> Judgement {
        let mut verdicts: Vec<Verdict> =
            Slot::ALL.into_iter().map(|slot| Verdict { slot, told: false, wrong: Vec::new() }).collect();
        for (slot, value) in words(text).filter_map(|word| Some((slot_of(&word)?, word))) {
            let verdict = &mut verdicts[slot as usize];
            if value.eq_ignore_ascii_case(facts.story.get(slot)) {
                verdict.told = true;
            } else if !verdict.wrong.iter().any(|known| value.eq_ignore_ascii_case(known)) {
                verdict.wrong.push(value);
            }
        }
        let right = verdicts.iter().filter(|verdict| verdict.told).count();
        let wrong = verdicts.iter().map(|verdict| verdict.wrong.len()).sum();
        let words = text.split_whitespace().count();
        let excess = words.saturating_sub(Self::WORD_LIMIT);
        let n_facts = Slot::ALL.len();
        let score = (right as f64 - wrong as f64) / n_facts as f64 - Self::WORD_PRICE * excess as f64;
        Judgement { right, wrong, missing: n_facts - right, words, score, verdicts }
    }

    /// Judges two texts about the same post against each other, by their scores.
    pub fn compare(facts: &Facts, first: &str, second: &str) -> Outcome {
        Self::score(facts, first).score.total_cmp(&Self::score(facts, second).score).into()
    }
}

/// The words of a text: runs of letters and digits; a dollar sign stays with its sum, and commas inside sums go.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '$' && c != ',')
        .flat_map(|run| {
            if run.starts_with('$') { vec![run.replace(',', "")] } else { run.split(',').map(str::to_owned).collect() }
        })
        .filter(|word| !word.is_empty())
}

/// The kind of fact that a word names, if any.
fn slot_of(word: &str) -> Option<Slot> {
    let digits = word.trim_start_matches('$');
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(if digits.len() < word.len() { Slot::Amount } else { Slot::Age });
    }
    Slot::ALL.into_iter().find(|slot| slot.values().iter().any(|value| value.eq_ignore_ascii_case(word)))
}
