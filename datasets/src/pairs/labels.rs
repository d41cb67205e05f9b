//! The current state of the judgements of a folder.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::agreement::Agreement;
use super::choice::LabelChoice;
use super::judgement::{Judge, Judgement};
use super::standing::{Course, Standings};
use super::types::Side;
use super::wire;
use crate::error::DatasetError;
use crate::record::Origin;

/// The aggregated judgements of one pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    /// The pair's index.
    pub index: usize,
    /// P(`a` is better): the mean over labellers, with 0.5 for a tie.
    pub a_is_better: f64,
    /// Number of labellers in the mean.
    pub labellers: usize,
}

impl Preference {
    /// The two sides, the better one first; ties keep their order.
    pub fn order(&self) -> [Side; 2] {
        if self.a_is_better >= 0.5 { [Side::A, Side::B] } else { [Side::B, Side::A] }
    }

    /// P(the first of [`order`](Self::order) is better), from 0.5 to 1.
    pub fn strength(&self) -> f64 {
        self.a_is_better.max(1.0 - self.a_is_better)
    }
}

/// The current judgements of one folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgements {
    standing: Standings,
    /// The location of a truncated last line.
    cut: Option<Origin>,
}

impl Judgements {
    /// Reads the judgements of a folder with this id and number of pairs; a missing file is empty.
    ///
    /// A truncated last line is ignored and recorded ([`Judgements::cut`]).
    ///
    /// # Errors
    /// Another line is malformed, or a judgement refers to other pairs: the error names line and field.
    pub fn read(path: &Path, id: &str, pairs: usize) -> Result<Self, DatasetError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&Arc::from(path), &bytes, id, pairs),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(DatasetError::Io { path: path.to_owned(), source }),
        }
    }

    pub(super) fn parse(file: &Arc<Path>, bytes: &[u8], id: &str, pairs: usize) -> Result<Self, DatasetError> {
        let mut labels = Self::default();
        let is_ended = bytes.ends_with(b"\n");
        let mut lines = wire::lines(file, bytes).peekable();
        while let Some((origin, line)) = lines.next() {
            match wire::parse_line(&origin, line) {
                Ok(value) => labels.apply(&Judgement::parse(&origin, &value, id, pairs)?),
                Err(_) if lines.peek().is_none() && !is_ended => labels.cut = Some(origin),
                Err(error) => return Err(error),
            }
        }
        Ok(labels)
    }

    /// Applies one more judgement, which the file has by now.
    pub fn apply(&mut self, label: &Judgement) {
        self.standing.apply(label);
    }

    /// The location of a truncated last line, if there is one.
    pub fn cut(&self) -> Option<&Origin> {
        self.cut.as_ref()
    }

    /// A labeller's current choice for a pair.
    pub fn choice(&self, index: usize, labeller: &str) -> Option<LabelChoice> {
        self.standing.choice(index, labeller)
    }

    /// Number of pairs a labeller has judged or skipped.
    pub fn count(&self, labeller: &str) -> usize {
        self.standing.course(labeller).map_or(0, Course::len)
    }

    /// The pair of a labeller's latest current judgement.
    pub fn last(&self, labeller: &str) -> Option<usize> {
        self.standing.course(labeller)?.last()
    }

    /// The first pair that a labeller has neither judged nor skipped. It may be the one after the folder's last.
    pub fn next(&self, labeller: &str) -> usize {
        self.standing.course(labeller).map_or(0, Course::next)
    }

    /// All labellers with current judgements, in alphabetical order.
    pub fn labellers(&self) -> BTreeSet<&str> {
        self.standing.labellers().collect()
    }

    /// The judgements of one kind of judge.
    #[must_use]
    pub fn only(&self, by: Judge) -> Self {
        Self { standing: self.standing.only(by), cut: self.cut.clone() }
    }

    /// The judged pairs with P(`a` is better), without skipped ones.
    pub fn preferences(&self) -> Vec<Preference> {
        let mut found: Vec<Preference> = Vec::new();
        for (index, choice) in self.standing.choices() {
            let Some(share) = choice.share_of_a() else { continue };
            // A sum until all are known: choices come pair by pair.
            match found.last_mut().filter(|last| last.index == index) {
                Some(last) => (last.a_is_better, last.labellers) = (last.a_is_better + share, last.labellers + 1),
                None => found.push(Preference { index, a_is_better: share, labellers: 1 }),
            }
        }
        for pair in &mut found {
            pair.a_is_better /= pair.labellers as f64;
        }
        found
    }

    /// The agreement of two labellers over the pairs that both judged; `None` if there are none.
    pub fn agreement_of(&self, first: &str, second: &str) -> Option<Agreement> {
        let judged = |index, labeller| self.choice(index, labeller).filter(|choice| *choice != LabelChoice::Skip);
        let indices = self.standing.course(first)?.pairs();
        let both = indices.filter_map(|index| Some((judged(index, first)?, judged(index, second)?)));
        Agreement::between(both)
    }

    /// The agreement of labellers; `None` if no pair was judged by two.
    pub fn agreement(&self) -> Option<Agreement> {
        self.standing.agreement()
    }
}
