//! `metrics.jsonl`: a line for each step and each evaluation.
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::lines::{self, Line, damaged};
use crate::Error;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordKind {
    /// A step on training examples.
    Train,
    /// An evaluation of held-out examples.
    Eval,
}

impl RecordKind {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Train, Self::Eval];

    /// Its name in files and keys.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Eval => "eval",
        }
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) split: RecordKind,
    /// Optimiser steps done.
    pub(crate) step: usize,
    /// Training examples seen so far.
    pub(crate) examples: usize,
    /// Numbers by name; `NaN` for those that were not finite.
    pub(crate) values: Vec<(String, f64)>,
}

impl Record {
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }

    /// Whether a metric is the accuracy of comparisons that all are ties, as before the first step: none is right, and the mean
    /// margin is 0, or, of single answers, which have no margin, the rewards are.
    pub(crate) fn is_tied(&self, name: &str) -> bool {
        let is_accuracy = matches!(name, "rewards/accuracies" | "implicit_accuracy") || name.starts_with("accuracies/");
        let rewards = || ["rewards/chosen", "rewards/rejected"].iter().filter_map(|name| self.value(name));
        let is_even = self.value("rewards/margins").map_or_else(
            || rewards().next().is_some() && rewards().all(|reward| reward == 0.0),
            |margin| margin == 0.0,
        );
        is_accuracy && self.value("rewards/accuracies") == Some(0.0) && is_even
    }
}

/// The records of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Records {
    pub(crate) all: Vec<Record>,
    /// Whether the file's last line is cut off.
    pub(crate) is_cut: bool,
}

impl Records {
    /// Reads a file; there are none where it does not exist, as before a run's first step.
    ///
    /// # Errors
    /// It can't be read, or a line is damaged.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let (lines, is_cut) = lines::read(path)?.unwrap_or_default();
        let all = lines.iter().map(|line| record(line, path)).collect::<Result<_, _>>()?;
        Ok(Self { all, is_cut })
    }

    /// Reads a text that has the form of the file.
    ///
    /// # Errors
    /// A line is damaged; `path` names the text.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let (lines, is_cut) = lines::parse(text.as_bytes(), path)?;
        let all = lines.iter().map(|line| record(line, path)).collect::<Result<_, _>>()?;
        Ok(Self { all, is_cut })
    }

    /// The records of a split.
    pub(crate) fn of(&self, split: RecordKind) -> impl Iterator<Item = &Record> {
        self.all.iter().filter(move |record| record.split == split)
    }

    /// The names of all numbers.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.all.iter().flat_map(|record| &record.values).map(|(name, _)| name.as_str()).collect()
    }

    /// The last step with a record.
    pub(crate) fn last_step(&self) -> Option<usize> {
        self.all.iter().map(|record| record.step).max()
    }
}

fn record((number, fields): &Line, path: &Path) -> Result<Record, Error> {
    let count = |name: &str| {
        let count = fields.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| damaged(path, *number, format!("`{name}` is not a count")))
    };
    let split = match fields.get("split").and_then(Value::as_str) {
        Some("train") => RecordKind::Train,
        Some("eval") => RecordKind::Eval,
        _ => return Err(damaged(path, *number, "`split` is neither \"train\" nor \"eval\"")),
    };
    let mut values = Vec::with_capacity(fields.len());
    for (name, value) in fields.iter().filter(|(name, _)| !["split", "step", "examples"].contains(&name.as_str())) {
        let value = lines::number(value).ok_or_else(|| damaged(path, *number, format!("`{name}` is not a number")))?;
        values.push((name.clone(), value));
    }
    Ok(Record { split, step: count("step")?, examples: count("examples")?, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Records, Error> {
        Records::parse(text, Path::new("metrics.jsonl"))
    }

    #[test]
    fn numbers_that_are_not_finite_are_kept_as_such() {
        let line = "{\"split\":\"train\",\"step\":1,\"examples\":4,\"loss\":0.5,\"rewards/margins\":null}\n";
        let records = parse(&format!("{line}{{\"split\":\"ev")).unwrap();
        assert!(records.is_cut && records.all.len() == 1);
        let record = &records.all[0];
        assert_eq!((record.split, record.step, record.value("loss")), (RecordKind::Train, 1, Some(0.5)));
        assert!(record.value("rewards/margins").unwrap().is_nan());
    }

    #[test]
    fn an_accuracy_of_ties_is_none() {
        let line = |accuracy: f64, margin: f64| {
            format!(
                "{{\"split\":\"eval\",\"step\":0,\"examples\":0,\"loss\":0.0,\"implicit_accuracy\":{accuracy},\
                 \"rewards/accuracies\":{accuracy},\"rewards/margins\":{margin}}}\n"
            )
        };
        let is_tied = |line: &str, name: &str| parse(line).unwrap().all[0].is_tied(name);
        for name in ["rewards/accuracies", "implicit_accuracy", "accuracies/refiner"] {
            assert!(is_tied(&line(0.0, 0.0), name) && !is_tied(&line(0.0, -0.5), name), "{name}");
        }
        assert!(!is_tied(&line(0.0, 0.0), "loss") && !is_tied(&line(0.5, 0.0), "rewards/accuracies"));
    }

    #[test]
    fn damaged_lines_are_named() {
        let good = "{\"split\":\"train\",\"step\":1,\"examples\":4}\n";
        for (line, says) in [
            ("{\"split\":\"tr\n", "line 2: is not a JSON object"),
            ("[1]\n", "line 2: is not a JSON object"),
            ("{\"split\":\"test\",\"step\":1,\"examples\":4}\n", "line 2: `split` is neither"),
            ("{\"split\":\"eval\",\"step\":-1,\"examples\":4}\n", "line 2: `step` is not a count"),
            ("{\"split\":\"eval\",\"step\":1,\"examples\":4,\"loss\":\"x\"}\n", "line 2: `loss` is not a number"),
            ("\u{0}\u{1}\n", "line 2: is not a JSON object"),
        ] {
            let said = parse(&format!("{good}{line}{good}")).unwrap_err().to_string();
            assert!(said.starts_with("metrics.jsonl, ") && said.contains(says), "{line}: {said}");
        }
    }
}
