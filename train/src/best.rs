//! The best evaluation of a run so far.
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::{Record, TrainError};

/// The metric of comparisons with the start, which some evaluations have.
const WIN_RATE: &str = "win_rate";

/// Tracks a metric of the evaluations after the first step: which was the best, and how many came since.
///
/// Its state is read back from the run's own records, so a resumed run agrees with one that was never stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Best {
    metric: Option<String>,
    value: Option<f64>,
    since: usize,
}

/// Whether an evaluation is the best so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BestStatus {
    /// Nothing is tracked, or the policy has not been trained yet.
    Uncounted,
    /// It is the best so far.
    Best,
    /// An earlier one is as good or better.
    NotBetter,
}

impl Best {
    /// Reads the evaluations in a file of records, up to those after `until` steps.
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub(crate) fn read(metric: Option<&str>, records: &Path, until: usize) -> Result<Self, TrainError> {
        let mut best = Self { metric: metric.map(str::to_owned), ..Self::default() };
        let Some(metric) = metric else { return Ok(best) };
        if !records.exists() {
            return Ok(best);
        }
        let file = std::fs::File::open(records).map_err(TrainError::io(records))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(TrainError::io(records))?;
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            let is_counted =
                line["split"] == "eval" && line["step"].as_u64().is_some_and(|step| step > 0 && step <= until as u64);
            if let Some(value) = line[metric].as_f64().filter(|_| is_counted) {
                best.take(value);
            }
        }
        Ok(best)
    }

    /// Takes the record of an evaluation.
    ///
    /// # Errors
    /// The record lacks the metric; the error names those that it has.
    pub(crate) fn judge(&mut self, record: &Record) -> Result<BestStatus, TrainError> {
        let Some(metric) = &self.metric else { return Ok(BestStatus::Uncounted) };
        let Some(value) = record.value(metric) else {
            // Not every evaluation has it.
            if metric == WIN_RATE {
                return Ok(BestStatus::Uncounted);
            }
            let known = record.values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(TrainError::NoMetric { name: metric.clone(), known });
        };
        Ok(if record.step == 0 { BestStatus::Uncounted } else { self.take(value) })
    }

    /// Number of evaluations since the best one.
    pub(crate) fn since(&self) -> usize {
        self.since
    }

    /// The tracked metric and its best value.
    pub(crate) fn value(&self) -> Option<(&str, f64)> {
        Some((self.metric.as_deref()?, self.value?))
    }

    fn take(&mut self, value: f64) -> BestStatus {
        let is_lower = self.metric.as_deref().is_some_and(is_better_lower);
        let is_better = self.value.is_none_or(|best| if is_lower { value < best } else { value > best });
        if is_better {
            (self.value, self.since) = (Some(value), 0);
            BestStatus::Best
        } else {
            self.since += 1;
            BestStatus::NotBetter
        }
    }
}

/// Whether smaller values of a metric are better: of losses, divergences and perplexities.
pub fn is_better_lower(metric: &str) -> bool {
    ["loss", "divergence", "perplexity"].iter().any(|word| metric.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: usize, loss: f64) -> Record {
        let values = vec![("loss".to_owned(), loss), ("rewards/accuracies".to_owned(), 1.0 - loss)];
        Record { split: "eval", step, examples: 0, values }
    }

    #[test]
    fn the_first_evaluation_does_not_count_and_equals_are_not_better() {
        use BestStatus::{Best as B, NotBetter as N, Uncounted as U};

        for metric in ["loss", "rewards/accuracies"] {
            let mut best = Best { metric: Some(metric.to_owned()), ..Best::default() };
            let losses = [0.1, 0.7, 0.5, 0.5, 0.6, 0.4];
            let verdicts: Vec<BestStatus> =
                losses.iter().zip(0..).map(|(loss, step)| best.judge(&record(step, *loss)).unwrap()).collect();
            assert_eq!(verdicts, [U, B, B, N, N, B], "{metric}");
            assert_eq!(best.since(), 0);
        }
    }

    #[test]
    fn an_unknown_metric_names_the_known_ones() {
        let mut best = Best { metric: Some("accuracy".to_owned()), ..Best::default() };
        let error = best.judge(&record(0, 0.5)).unwrap_err().to_string();
        assert!(error.contains("`accuracy`") && error.contains("loss, rewards/accuracies"), "{error}");
    }

    #[test]
    fn records_give_the_state_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = |split: &str, step: usize, loss: f64| {
            format!("{{\"split\":\"{split}\",\"step\":{step},\"loss\":{loss}}}\n")
        };
        let lines = [
            line("eval", 0, 0.1),
            line("train", 1, 0.2),
            line("eval", 2, 0.6),
            line("eval", 4, 0.7),
            line("eval", 6, 0.1),
        ];
        std::fs::write(&path, lines.concat()).unwrap();
        let best = Best::read(Some("loss"), &path, 4).unwrap();
        assert_eq!((best.value(), best.since()), (Some(("loss", 0.6)), 1));
        assert_eq!(Best::read(None, &path, 4).unwrap(), Best::default());
    }
}
