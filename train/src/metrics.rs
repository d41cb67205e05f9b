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
