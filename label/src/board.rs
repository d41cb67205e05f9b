//! The pairs, their judgements, and a labeller's view of them.

use axum::http::StatusCode;
use datasets::pairs::{JudgementChange, JudgementLog, Judgements, LabelChoice, PairFolder, Side, StoredResult};
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::writer::{Writer, judgement};

/// The state behind the page.
#[derive(Debug)]
pub(crate) struct Board {
    pairs: PairFolder,
    judgements: Writer,
    labeller: Option<String>,
    seed: u64,
}

/// Left or right on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Left,
    Right,
}

/// An answer of a labeller.
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
        let judgements = Writer::start(JudgementLog::open(&pairs)?)?;
        Ok(Self { pairs, judgements, labeller, seed })
    }

    pub(crate) fn labels(&self) -> Judgements {
        self.judgements.labels().clone()
    }

    /// Waits for judgements that are being written; no more are taken.
    pub(crate) fn end(&self) {
        self.judgements.end();
    }

    /// The page's initial data, before the labeller is known.
    pub(crate) fn session(&self) -> Value {
        json!({
            "pairs": self.pairs.len(),
            "modality": self.pairs.modality().name(),
            "labeller": self.labeller,
        })
    }

    /// A labeller's progress and next pair, and the agreement between labellers.
    pub(crate) fn progress(&self, labeller: &str) -> Value {
        let labels = self.judgements.labels();
        let next = Some(labels.next(labeller)).filter(|index| *index < self.pairs.len());
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

    /// A pair before the choice: without refined prompts and without the names of the sides.
    pub(crate) fn view(&self, index: usize, labeller: &str) -> Result<Value, Refusal> {
        let pair = self.pairs.get(index).ok_or_else(|| Refusal::unknown_pair(self.pairs.len()))?;
        let place = |place| match &pair.side(self.side(index, labeller, place)).made {
            StoredResult::Response(text) => json!({"text": text}),
            StoredResult::Image(_) => json!({"text": null}),
        };
        let (left, right) = (place(Place::Left), place(Place::Right));
        Ok(json!({"index": index, "request": pair.request, "left": left, "right": right}))
    }

    /// The PNG on one side of the page.
    pub(crate) fn picture(&self, index: usize, place: Place, labeller: &str) -> Result<Vec<u8>, Refusal> {
        if index >= self.pairs.len() {
            return Err(Refusal::unknown_pair(self.pairs.len()));
        }
        let bytes = self.pairs.image(index, self.side(index, labeller, place))?;
        bytes.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "these pairs are texts"))
    }

    /// Records an answer and returns what was hidden before. An identical answer is not written again.
    pub(crate) async fn answer(&self, index: usize, labeller: &str, answer: Answer) -> Result<Value, Refusal> {
        let pair = self.pairs.get(index).ok_or_else(|| Refusal::unknown_pair(self.pairs.len()))?;
        let choice = match answer {
            Answer::Left => LabelChoice::of(self.side(index, labeller, Place::Left)),
            Answer::Right => LabelChoice::of(self.side(index, labeller, Place::Right)),
            Answer::Tie => LabelChoice::Tie,
            Answer::Skip => LabelChoice::Skip,
        };
        self.judgements.take(judgement(index, labeller, JudgementChange::Chosen(choice))).await?;
        let refined =
            |place| pair.side(self.side(index, labeller, place)).refined.as_ref().map(|refined| &refined.text);
        Ok(json!({"left": refined(Place::Left), "right": refined(Place::Right)}))
    }

    /// Retracts an answer.
    pub(crate) async fn undo(&self, index: usize, labeller: &str) -> Result<(), Refusal> {
        if index >= self.pairs.len() {
            return Err(Refusal::unknown_pair(self.pairs.len()));
        }
        self.judgements.take(judgement(index, labeller, JudgementChange::Undone)).await
    }

    /// The side shown on one side of the page.
    fn side(&self, index: usize, labeller: &str, place: Place) -> Side {
        let left = left_side(self.seed, index, labeller);
        if place == Place::Left { left } else { left.other() }
    }
}

/// The side shown on the left: a fair coin, a function of seed, pair and labeller.
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
