use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{TrainError, write_whole};

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// `train` or `eval`.
    pub split: &'static str,
    /// Optimiser steps done.
    pub step: usize,
    /// Training examples seen so far.
    pub examples: usize,
    /// Numbers by name, in the order they are written.
    pub values: Vec<(String, f64)>,
}

impl Record {
    /// The number called `name`.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// Whether no comparison of the record has a better side, as before the first step, when all rewards are 0: its accuracy
    /// of 0 is none, and neither is that of a part of the policy.
    pub fn is_all_tied(&self) -> bool {
        is_all_tied(|name| self.value(name))
    }

    /// The evaluation of the start in a file of records; `None` where there is none.
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub(crate) fn of_start(path: &Path) -> Result<Option<Self>, TrainError> {
        Self::of_evaluation(path, 0)
    }

    /// The evaluation after `step` steps in a file of records; `None` where there is none.
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub(crate) fn of_evaluation(path: &Path, step: usize) -> Result<Option<Self>, TrainError> {
        if !path.exists() {
            return Ok(None);
        }
        for line in BufReader::new(File::open(path).map_err(TrainError::io(path))?).lines() {
            let line = line.map_err(TrainError::io(path))?;
            let Ok(Value::Object(line)) = serde_json::from_str(&line) else { continue };
            if line.get("split").is_some_and(|split| split == "eval") && line.get("step").is_some_and(|at| *at == step)
            {
                let is_number = |name: &str| !matches!(name, "split" | "step" | "examples");
                let values = line.iter().filter(|(name, _)| is_number(name));
                let values = values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
                return Ok(Some(Self { split: "eval", step, examples: 0, values }));
            }
        }
        Ok(None)
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut line = Map::new();
        line.insert("split".into(), self.split.into());
        line.insert("step".into(), self.step.into());
        line.insert("examples".into(), self.examples.into());
        for (name, value) in &self.values {
            line.insert(name.clone(), (*value).into());
        }
        line.into()
    }
}

/// Whether metrics, by their names, are those of comparisons that all are ties: none is right, and the mean margin is 0, or, of
/// single answers, which have no margin, the rewards are.
pub fn is_all_tied(value: impl Fn(&str) -> Option<f64>) -> bool {
    let rewards = || ["rewards/chosen", "rewards/rejected"].iter().filter_map(|name| value(name));
    let is_even = value("rewards/margins")
        .map_or_else(|| rewards().next().is_some() && rewards().all(|reward| reward == 0.0), |margin| margin == 0.0);
    value("rewards/accuracies") == Some(0.0) && is_even
}

/// `metrics.jsonl`, or another file with one line per step: appended and flushed at once.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file to continue after `step` steps: drops later lines and a last line truncated by a kill. If the
    /// evaluation after `step` is `repeated`, its line is dropped too.
    pub fn open(path: &Path, step: usize, repeated: bool) -> Result<Self, TrainError> {
        if path.exists() {
            let kept = kept_lines(path, step, repeated)?;
            write_whole(path, |file| file.write_all(kept.as_bytes()))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(TrainError::io(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a line.
    pub fn write(&mut self, record: &Record) -> Result<(), TrainError> {
        self.append(&record.to_json())
    }

    /// Appends an object that has the fields `split` and `step` of a record.
    pub(crate) fn append(&mut self, line: &Value) -> Result<(), TrainError> {
        let line = format!("{line}\n");
        self.file.write_all(line.as_bytes()).map_err(TrainError::io(&self.path))
    }
}

fn kept_lines(path: &Path, step: usize, repeated: bool) -> Result<String, TrainError> {
    let mut kept = String::new();
    for line in BufReader::new(File::open(path).map_err(TrainError::io(path))?).lines() {
        let line = line.map_err(TrainError::io(path))?;
        let at = serde_json::from_str::<Value>(&line).ok().and_then(|v| Some((v.get("step")?.as_u64()?, v)));
        let Some((at, value)) = at else { continue };
        let again = at as usize > step || (repeated && at as usize == step && value["split"] == "eval");
        if !again {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: usize) -> Record {
        Record { split: "train", step, examples: step * 4, values: vec![("loss".into(), 0.5)] }
    }

    #[test]
    fn the_start_is_read_back_from_the_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert_eq!(Record::of_start(&path).unwrap(), None);
        let mut file = MetricsFile::open(&path, 0, true).unwrap();
        let names = ["loss", "rewards/accuracies", "rewards/margins"].map(str::to_owned);
        let values = names.into_iter().zip([0.5, 0.0, 0.0]).collect();
        let start = Record { split: "eval", step: 0, examples: 0, values };
        file.write(&start).unwrap();
        file.write(&record(1)).unwrap();
        file.write(&Record { step: 1, ..start.clone() }).unwrap();
        assert_eq!(Record::of_start(&path).unwrap(), Some(start.clone()));
        assert!(start.is_all_tied() && !record(1).is_all_tied());
        // Single answers have no margin.
        let single = |reward| {
            let names = ["rewards/accuracies", "rewards/chosen", "rewards/rejected"].map(str::to_owned);
            Record { values: names.into_iter().zip([0.0, 0.0, reward]).collect(), ..start.clone() }
        };
        assert!(single(0.0).is_all_tied() && !single(0.1).is_all_tied());
        file = MetricsFile::open(&path, 1, false).unwrap();
        file.write(&record(2)).unwrap();
        assert_eq!(Record::of_start(&path).unwrap().unwrap().value("loss"), Some(0.5), "also when the run goes on");
    }

    #[test]
    fn goes_on_where_the_checkpoint_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::open(&path, 0, true).unwrap();
        (1..=3).for_each(|step| file.write(&record(step)).unwrap());
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"split\":\"tr").unwrap();
        let mut file = MetricsFile::open(&path, 2, false).unwrap();
        file.write(&record(3)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let line = |step: usize, examples: usize| {
            format!("{{\"split\":\"train\",\"step\":{step},\"examples\":{examples},\"loss\":0.5}}\n")
        };
        assert_eq!(text, [line(1, 4), line(2, 8), line(3, 12)].concat());
    }
}
