//! How well kinds of credit find what is wrong: a table.
use std::fmt;

use super::measures::{Bootstrap, Labelled, measure};
use crate::Estimate;

/// A kind of credit: its name in files, and in tables.
pub(super) type Kind = (&'static str, &'static str);

/// The words of a table: what examples are, what is wrong in them, and what has credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) examples: &'static str,
    pub(super) regions: &'static str,
    pub(super) places: &'static str,
}

/// How well each kind of credit finds the wrong tokens of answers, or the wrong pixels of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditSummary {
    /// The kinds, the implicit reward first.
    pub rows: Vec<MeasureSummary>,
    /// Answers or pictures in which something is wrong; no others count.
    pub examples: usize,
    /// Their tokens, end tokens aside, or pixels.
    pub places: usize,
    /// Those of them that are wrong.
    pub wrong: usize,
    words: Words,
}

/// How well one kind of credit finds what is wrong, the least credit first.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasureSummary {
    /// Its name in files.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// The area under the ROC curve over the places of all examples: the probability that a wrong place has less credit
    /// than a right one. `None` where all are wrong.
    pub auroc: Option<Estimate>,
    /// The average precision over the places of all examples.
    pub average_precision: Option<Estimate>,
    /// The share of examples whose place of least credit is wrong.
    pub pointing: Option<Estimate>,
}

/// Measures kinds of credit on the same examples, each of which has something wrong: `credit[kind][example][place]`.
/// `None` without examples.
pub(super) fn summarise(
    kinds: &[Kind],
    credit: &[Vec<Vec<f64>>],
    wrong: &[Vec<bool>],
    (seed, words): (u64, Words),
) -> Option<CreditSummary> {
    if wrong.is_empty() {
        return None;
    }
    let bootstrap = Bootstrap::new(seed, wrong.len());
    let row = |(&(name, title), credit): (&Kind, &Vec<Vec<f64>>)| {
        let measured = measure(&labelled(credit, wrong), &bootstrap);
        let (auroc, average_precision, pointing) = (measured.auroc, measured.average_precision, measured.pointing);
        MeasureSummary { name, title, auroc, average_precision, pointing }
    };
    let rows = kinds.iter().zip(credit).map(row).collect();
    let count = |is: fn(&&bool) -> bool| wrong.iter().flatten().filter(is).count();
    Some(CreditSummary { rows, examples: wrong.len(), places: count(|_| true), wrong: count(|wrong| **wrong), words })
}

/// Examples of one kind of credit with what is wrong in them.
pub(super) fn labelled<'a>(credit: &'a [Vec<f64>], wrong: &'a [Vec<bool>]) -> Vec<Labelled<'a>> {
    credit.iter().zip(wrong).map(|(credit, wrong)| Labelled { credit, wrong }).collect()
}

impl CreditSummary {
    /// What is counted, and what chance would give.
    pub(super) fn counts(&self) -> String {
        let share = self.wrong as f64 / self.places as f64;
        let Words { examples, regions, places } = self.words;
        format!(
            "{examples} with wrong {regions}: {}; wrong {places}: {} of {}; by chance 0.500, {share:.3}, {share:.3}; 95% \
             intervals over {examples}",
            self.examples, self.wrong, self.places
        )
    }
}

/// A table.
impl fmt::Display for CreditSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |estimate: Option<Estimate>| {
            estimate.map_or_else(
                || "-".to_owned(),
                |Estimate { value, low, high }| format!("{value:.3} ({low:.3} to {high:.3})"),
            )
        };
        writeln!(f, "{:<26}{:<26}{:<26}pointing accuracy", "credit", "AUROC", "average precision")?;
        for row in &self.rows {
            let (auroc, precision, pointing) = (cell(row.auroc), cell(row.average_precision), cell(row.pointing));
            writeln!(f, "{:<26}{auroc:<26}{precision:<26}{pointing}", row.title)?;
        }
        f.write_str(&self.counts())
    }
}
