//! The folder of a training run, as far as a report needs it.
mod evaluations;
mod lines;
mod records;
mod rewards;
mod samples;
mod sheets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Error;

pub(crate) use self::evaluations::{Evaluation, Histogram};
pub(crate) use self::records::{Record, RecordKind, Records};
pub(crate) use self::rewards::RewardedAnswer;
pub(crate) use self::samples::{Samples, TextSample};
#[cfg(test)]
pub(crate) use self::sheets::tests::grey;
pub(crate) use self::sheets::{LARGEST, Sheet, Tile};

/// A training run, read from its folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// Settings by path, such as `objective.beta`, with their values as TOML.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) records: Records,
    pub(crate) evaluations: Vec<Evaluation>,
    pub(crate) samples: Samples,
    pub(crate) rewards: Vec<RewardedAnswer>,
    pub(crate) ending: RunEnding,
    /// Peak memory of the process in MB.
    pub(crate) peak_memory: Option<f64>,
    /// What the run said at its end.
    pub(crate) table: Option<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunEnding {
    /// `model/` holds the policy.
    Done,
    /// It is in progress, or was stopped; the step of its newest checkpoint.
    Unfinished { checkpoint: Option<usize> },
}

impl Run {
    /// Reads a run's folder and the runs within it: the halves of a hybrid that were trained alone for comparison, or the
    /// rounds of iterated training.
    ///
    /// # Errors
    /// It is no run's folder, or a file in it can't be read or is damaged.
    pub fn read(folder: &Path) -> Result<Vec<Self>, Error> {
        check(folder)?;
        let name =
            folder.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned());
        let settings = settings(&folder.join("config.toml"))?;
        let rounds: Vec<PathBuf> =
            (1..100_000).map(|n| folder.join(format!("round-{n}/run"))).take_while(|run| run.is_dir()).collect();
        let mut runs = Vec::new();
        for (path, n) in rounds.iter().zip(1..) {
            check(path)?;
            runs.push(Self::one(format!("{name}, round {n}"), path, self::settings(&path.join("config.toml"))?)?);
        }
        if rounds.is_empty() {
            runs.push(Self::one(name.clone(), folder, settings.clone())?);
        }
        // They have the settings of the run around them.
        let alone = folder.join("alone");
        for half in ["refiner", "generator"] {
            if alone.join(half).is_dir() {
                runs.push(Self::one(format!("{name}, {half} alone"), &alone.join(half), settings.clone())?);
            }
        }
        Ok(runs)
    }

    fn one(name: String, folder: &Path, settings: BTreeMap<String, String>) -> Result<Self, Error> {
        let end = summary(&folder.join("report").join("summary.json"))?;
        // A run that was made longer has the model of its first end until it ends again.
        let is_open = end.get("finished") == Some(&Value::Bool(false));
        let ending = if folder.join("model").is_dir() && !is_open {
            RunEnding::Done
        } else {
            RunEnding::Unfinished { checkpoint: newest_checkpoint(&folder.join("checkpoints")) }
        };
        let metrics = folder.join("metrics.jsonl");
        let records = Records::read(&metrics)?;
        if ending == RunEnding::Done && records.all.is_empty() {
            let what =
                "has no records, or is missing, though the run is finished (it has a model/): the folder is damaged";
            return Err(Error::malformed(&metrics, what));
        }
        Ok(Self {
            name,
            settings,
            records,
            evaluations: evaluations::read(&folder.join("report").join("evaluations.jsonl"))?,
            samples: Samples::read(&folder.join("samples"))?,
            rewards: rewards::read(&folder.join("report").join("token_rewards.jsonl"))?,
            ending,
            peak_memory: end.get("peak_memory_mb").and_then(Value::as_f64),
            table: end.get("table").and_then(Value::as_str).map(str::to_owned),
            folder: folder.to_owned(),
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A setting by its path, such as `objective.beta`: its value as TOML, a text with its quotes.
    pub fn setting(&self, path: &str) -> Option<&str> {
        self.settings.get(path).map(String::as_str)
    }

    /// Calls the run by another name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The name: that of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The records of a run to compare others with.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceRun {
    pub(crate) name: String,
    pub(crate) records: Records,
}

impl ReferenceRun {
    /// Reads the text of a run's `metrics.jsonl`.
    ///
    /// # Errors
    /// A line is damaged.
    pub fn parse(name: &str, metrics: &str) -> Result<Self, Error> {
        Ok(Self { name: name.to_owned(), records: Records::parse(metrics, Path::new(name))? })
    }

    /// Whether there is a record.
    pub fn has_records(&self) -> bool {
        !self.records.all.is_empty()
    }
}

fn check(folder: &Path) -> Result<(), Error> {
    if !folder.is_dir() {
        let what = if folder.exists() { "is a file, not the folder of a run" } else { "there is no such folder" };
        return Err(Error::malformed(folder, what));
    }
    let is_run =
        ["checkpoints", "metrics.jsonl", "rounds.jsonl", "round-1"].iter().any(|name| folder.join(name).exists());
    let config = folder.join("config.toml");
    match (is_run, config.is_file()) {
        (true, true) => Ok(()),
        (true, false) => Err(Error::malformed(&config, "there is no such file, and a run's folder has one")),
        (false, _) => {
            let what = "is not a run's folder (it has no config.toml and checkpoints/)";
            Err(Error::malformed(folder, what))
        }
    }
}

/// The settings of a file by path.
fn settings(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        lines::damaged(path, line, error.message())
    })?;
    let mut settings = BTreeMap::new();
    for (section, values) in table {
        match values {
            toml::Value::Table(values) => {
                settings.extend(values.into_iter().map(|(key, value)| (format!("{section}.{key}"), value.to_string())));
            }
            value => _ = settings.insert(section, value.to_string()),
        }
    }
    Ok(settings)
}

/// `report/summary.json`, empty where there is none.
fn summary(path: &Path) -> Result<serde_json::Map<String, Value>, Error> {
    let Some(bytes) = lines::bytes(path)? else { return Ok(serde_json::Map::new()) };
    serde_json::from_slice(&bytes).map_err(|error| Error::malformed(path, error.to_string()))
}

fn newest_checkpoint(folder: &Path) -> Option<usize> {
    let names = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).max()
}
