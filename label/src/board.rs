//! The pairs, what was said of them, and what a labeller gets to see.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use datasets::pairs::{Choice, Judge, Kept, Label, LabelLog, Labels, PairFolder, Side, Verdict};
use serde_json::{Value, json};

use crate::refusal::Refusal;

/// What is behind the page.
#[derive(Debug)]
pub(crate) struct Board {
    pairs: PairFolder,
    log: Mutex<LabelLog>,
    labeller: Option<String>,
    seed: u64,
}

/// A place on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Left,
    Right,
}

/// What a labeller may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Left,
    Right,
    Tie,
    Skip,
}

impl Board {
    pub(crate) fn open(pairs: PairFolder, labeller: Option<String>, seed: u64) -> crate::Result<Self> {
        let log = Mutex::new(LabelLog::open(&pairs)?);
        Ok(Self { pairs, log, labeller, seed })
    }

    pub(crate) fn labels(&self) -> Labels {
        self.log().labels().clone()
    }

    /// What a page needs before it knows who labels.
    pub(crate) fn session(&self) -> Value {
        json!({
            "pairs": self.pairs.len(),
            "modality": self.pairs.modality().name(),
            "labeller": self.labeller,
        })
    }

    /// How far a labeller is, which pair is next, and how much everyone agrees.
    pub(crate) fn progress(&self, labeller: &str) -> Value {
        let log = self.log();
        let labels = log.labels();
        let next = (0..self.pairs.len()).find(|index| labels.choice(*index, labeller).is_none());
        let agreement = labels.agreement().map(|agreement| {
            json!({
                "labellers": agreement.labellers,
                "pairs": agreement.pairs,
                "share": agreement.share,
                "kappa": agreement.kappa,
                "kind": agreement.kind.name(),
            })
        });
        json!({
            "pairs": self.pairs.len(),
            "done": labels.count(labeller),
            "next": next,
            "last": labels.last(labeller),
            "agreement": agreement,
        })
    }

    /// A pair as a labeller sees it before the choice: no word of refined prompts, nor of which side is which.
    pub(crate) fn view(&self, index: usize, labeller: &str) -> Result<Value, Refusal> {
        let pair = self.pairs.get(index).ok_or_else(|| Refusal::unknown_pair(self.pairs.len()))?;
        let place = |place| match &pair.side(self.side(index, labeller, place)).made {
            Kept::Response(text) => json!({"text": text}),
            Kept::Image(_) => json!({"text": null}),
        };
        let (left, right) = (place(Place::Left), place(Place::Right));
        Ok(json!({"index": index, "request": pair.request, "left": left, "right": right}))
    }

    /// The PNG at a place.
    pub(crate) fn picture(&self, index: usize, place: Place, labeller: &str) -> Result<Vec<u8>, Refusal> {
        if index >= self.pairs.len() {
            return Err(Refusal::unknown_pair(self.pairs.len()));
        }
        let bytes = self.pairs.image(index, self.side(index, labeller, place))?;
        bytes.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "these pairs are texts"))
    }

    /// Takes an answer; what comes back is what was hidden before. An answer that stands already is not written again.
    pub(crate) fn answer(&self, index: usize, labeller: &str, answer: Answer) -> Result<Value, Refusal> {
        let pair = self.pairs.get(index).ok_or_else(|| Refusal::unknown_pair(self.pairs.len()))?;
        let choice = match answer {
            Answer::Left => Choice::of(self.side(index, labeller, Place::Left)),
            Answer::Right => Choice::of(self.side(index, labeller, Place::Right)),
            Answer::Tie => Choice::Tie,
            Answer::Skip => Choice::Skip,
        };
        let mut log = self.log();
        if log.labels().choice(index, labeller) != Some(choice) {
            log.append(&label(index, labeller, Verdict::Chosen(choice)))?;
        }
        let refined =
            |place| pair.side(self.side(index, labeller, place)).refined.as_ref().map(|refined| &refined.text);
        Ok(json!({"left": refined(Place::Left), "right": refined(Place::Right)}))
    }

    /// Takes an answer back.
    pub(crate) fn undo(&self, index: usize, labeller: &str) -> Result<(), Refusal> {
        if index >= self.pairs.len() {
            return Err(Refusal::unknown_pair(self.pairs.len()));
        }
        let mut log = self.log();
        if log.labels().choice(index, labeller).is_none() {
            return Err(Refusal::new(StatusCode::CONFLICT, "there is no answer to take back"));
        }
        Ok(log.append(&label(index, labeller, Verdict::Undone))?)
    }

    /// The side that a labeller sees at a place.
    fn side(&self, index: usize, labeller: &str, place: Place) -> Side {
        let left = left_side(self.seed, index, labeller);
        if place == Place::Left { left } else { left.other() }
    }

    fn log(&self) -> MutexGuard<'_, LabelLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label(index: usize, labeller: &str, verdict: Verdict) -> Label {
    Label { index, labeller: labeller.to_owned(), by: Judge::Person, verdict }
}

/// Which side stands left: a fair coin that depends on nothing but seed, pair and labeller.
fn left_side(seed: u64, index: usize, labeller: &str) -> Side {
    let mut hash = blake3::Hasher::new_derive_key("hybrid-dpo label: which side stands left");
    hash.update(&seed.to_le_bytes()).update(&(index as u64).to_le_bytes()).update(labeller.as_bytes());
    if hash.finalize().as_bytes()[0] & 1 == 0 { Side::A } else { Side::B }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coin_is_fair_and_differs_by_labeller_and_seed() {
        let row = |seed, labeller: &str| -> Vec<Side> { (0..1000).map(|at| left_side(seed, at, labeller)).collect() };
        let anna = row(0, "anna");
        assert_eq!(anna, row(0, "anna"));
        for other in [row(1, "anna"), row(0, "ben")] {
            let same = anna.iter().zip(&other).filter(|(x, y)| x == y).count();
            let left = other.iter().filter(|side| **side == Side::A).count();
            assert!((430..570).contains(&same) && (430..570).contains(&left), "{same} {left}");
        }
    }
}
