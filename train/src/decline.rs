//! Notices that the better side gets worse.
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::{Record, TrainError};

/// The metric of the better side: beta times its log-ratio to the reference, which is below 0 where it is less likely than before
/// training, or its error higher.
const CHOSEN: &str = "rewards/chosen";

/// Evaluations in a row after which it is said.
const PATIENCE: usize = 3;

/// Counts evaluations in a row in which the better side is worse off than under the reference.
///
/// Its state is read back from the run's own records, so that a resumed run does not say it twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decline {
    in_a_row: usize,
    is_said: bool,
}

impl Decline {
    /// Reads the evaluations in a file of records, up to those after `until` steps.
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub(crate) fn read(records: &Path, until: usize) -> Result<Self, TrainError> {
        let mut decline = Self::default();
        if !records.exists() {
            return Ok(decline);
        }
        let file = std::fs::File::open(records).map_err(TrainError::io(records))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(TrainError::io(records))?;
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            let is_counted = line["split"] == "eval" && line["step"].as_u64().is_some_and(|step| step <= until as u64);
            if let Some(reward) = line[CHOSEN].as_f64().filter(|_| is_counted) {
                decline.take(reward);
            }
        }
        Ok(decline)
    }

    /// Takes the record of an evaluation; returns what to tell the user, once.
    pub(crate) fn judge(&mut self, record: &Record, decision: &str) -> Option<String> {
        let reward = record.value(CHOSEN)?;
        self.take(reward).then(|| notice(reward, decision))
    }

    /// Whether it is to be said now.
    fn take(&mut self, reward: f64) -> bool {
        self.in_a_row = if reward < 0.0 { self.in_a_row + 1 } else { 0 };
        let is_due = self.in_a_row >= PATIENCE && !self.is_said;
        self.is_said |= is_due;
        is_due
    }
}

fn notice(reward: f64, decision: &str) -> String {
    let (what, more) = if decision == "token" {
        ("the chosen answers are less likely than under the reference", "`objective.sft_weight` 0.1")
    } else {
        ("the better images' error is above the reference's", "`objective.safeguard` 0.9")
    };
    format!(
        "{what}, in {PATIENCE} evaluations in a row (rewards/chosen {reward:.3}): the margin may grow while both sides get \
         worse. Where samples get worse too, lower `optimizer.lr`, raise `objective.beta`, or hold the better side (more, if the \
         run does): {more}, or `objective.name` dpop"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: usize, reward: f64) -> Record {
        Record { split: "eval", step, examples: 0, values: vec![(CHOSEN.to_owned(), reward)] }
    }

    #[test]
    fn it_is_said_once_after_three_evaluations_in_a_row() {
        let mut decline = Decline::default();
        let rewards = [0.0, -0.1, -0.2, 0.1, -0.1, -0.2, -0.3, -0.4, 0.5, -1.0, -1.0, -1.0];
        let said: Vec<bool> =
            rewards.iter().enumerate().map(|(i, r)| decline.judge(&record(i, *r), "token").is_some()).collect();
        assert_eq!(said.iter().position(|said| *said), Some(6));
        assert_eq!(said.iter().filter(|said| **said).count(), 1);
        assert!(notice(-0.5, "token").contains("less likely") && notice(-0.5, "decision").contains("error"));
        let other = Record { values: Vec::new(), ..record(0, 0.0) };
        assert_eq!(Decline::default().judge(&other, "token"), None);
    }

    #[test]
    fn a_resumed_run_goes_on_counting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert_eq!(Decline::read(&path, 9).unwrap(), Decline::default());
        let line = |step: usize, reward: f64| format!("{{\"split\":\"eval\",\"step\":{step},\"{CHOSEN}\":{reward}}}\n");
        std::fs::write(&path, line(1, -0.1) + &line(2, -0.1) + &line(3, -0.1) + &line(4, 0.2)).unwrap();
        assert!(Decline::read(&path, 2).unwrap().judge(&record(3, -0.1), "token").is_some());
        assert_eq!(Decline::read(&path, 4).unwrap(), Decline { in_a_row: 0, is_said: true });
    }
}
