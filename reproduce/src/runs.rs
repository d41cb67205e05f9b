//! Trained runs, kept in the folder of results and used again.
use std::fs;
use std::path::{Path, PathBuf};

use recipes::settings::Values;
use recipes::{Call, Failure, TrainingStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use train::write_whole;

use crate::result::Point;
use crate::statistics::Measured;
use crate::{Result, Setup};

/// A finished run.
#[derive(Clone, Debug)]
pub(crate) struct FinishedRun {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The mean score and the win rate over the start of each policy that the oracle compared, by name.
    pub(crate) judged: Vec<PolicyScore>,
}

/// A policy as the oracle judged it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PolicyScore {
    pub(crate) name: String,
    pub(crate) score: f64,
    pub(crate) win_rate: Option<f64>,
}

impl FinishedRun {
    /// The judgement of a policy.
    pub(crate) fn of(&self, name: &str) -> Result<&PolicyScore> {
        let found = self.judged.iter().find(|judged| judged.name == name);
        found.ok_or_else(|| Failure::failed(format!("{}: nothing was judged as {name}", self.folder.display())))
    }

    /// The name of its policy as a model.
    pub(crate) fn model(&self) -> String {
        self.folder.display().to_string()
    }

    /// A metric of its evaluations by step.
    pub(crate) fn curve(&self, name: &str) -> Result<Vec<(f64, f64)>> {
        let path = self.folder.join("metrics.jsonl");
        let text = fs::read_to_string(&path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let evaluations = lines.filter(|line| line["split"] == "eval");
        let points: Vec<(f64, f64)> =
            evaluations.filter_map(|line| Some((line["step"].as_f64()?, line[name].as_f64()?))).collect();
        if points.is_empty() {
            return Err(Failure::failed(format!("{}: no evaluation has `{name}`", path.display())));
        }
        Ok(points)
    }

    /// The last number of a metric's evaluations.
    pub(crate) fn last(&self, name: &str) -> Result<f64> {
        Ok(self.curve(name)?.last().map_or(f64::NAN, |(_, value)| *value))
    }
}

/// The mean curve of runs with the same steps, with its interval over them.
pub(crate) fn mean_curve(curves: &[Vec<(f64, f64)>]) -> Vec<Point> {
    let n = curves.iter().map(Vec::len).min().unwrap_or(0);
    let at = |index: usize| {
        let values: Vec<f64> = curves.iter().map(|curve| curve[index].1).collect();
        Point { x: curves[0][index].0, y: Measured::over_seeds(&values) }
    };
    (0..n).map(at).collect()
}

impl Setup<'_> {
    /// The folder of a run.
    fn run_folder(&self, name: &str) -> PathBuf {
        self.out.join("runs").join(name)
    }

    /// Trains, goes on with a stopped run, or reads a finished one; the oracle of an embedded problem compares policies
    /// on so many prompts.
    pub(crate) fn run(&self, name: &str, settings: impl Into<Values>, prompts: u64) -> Result<FinishedRun> {
        let (folder, done) = (self.run_folder(name), self.run_folder(&format!("{name}.json")));
        if done.is_file() && folder.join("model").is_dir() {
            let judged = read(&done)?;
            return Ok(FinishedRun { folder, judged });
        }
        self.go_on()?;
        self.reporter.info(&format!("run {name}"));
        let is_begun = folder.join("config.toml").is_file();
        let mut values = if is_begun { Values::default() } else { settings.into() };
        if !is_begun && folder.exists() {
            // Killed before its settings were written: there is nothing in it.
            fs::remove_dir_all(&folder).map_err(|e| Failure::failed(format!("{}: {e}", folder.display())))?;
        }
        if !is_begun {
            values.set(|settings| settings.run.out = Some(folder.display().to_string()));
        }
        let reporter = &self.hushed();
        let trained = recipes::train_judged(Call { values, reporter }, is_begun.then_some(folder.as_path()), prompts)?;
        if trained.status != TrainingStatus::Finished {
            return Err(Failure::Interrupted);
        }
        let judged: Vec<PolicyScore> = trained
            .judged
            .iter()
            .map(|judged| PolicyScore {
                name: judged.name.to_owned(),
                score: judged.score,
                win_rate: judged.win_rate.map(|rate| rate.value),
            })
            .collect();
        write(&done, &judged)?;
        Ok(FinishedRun { folder, judged })
    }

    /// Reads what was computed before under a name, or computes and keeps it.
    pub(crate) fn kept<T: Serialize + for<'d> Deserialize<'d>>(
        &self,
        name: &str,
        compute: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self.run_folder(&format!("{name}.json"));
        if path.is_file() {
            return read(&path);
        }
        self.go_on()?;
        let computed = compute()?;
        write(&path, &computed)?;
        Ok(computed)
    }
}

/// Reads a JSON file.
pub(crate) fn read<T: for<'d> Deserialize<'d>>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    serde_json::from_str(&text)
        .map_err(|e| Failure::failed(format!("{}: damaged ({e}); remove it, to compute it again", path.display())))
}

/// Writes a JSON file whole.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(write_whole(path, |file| std::io::Write::write_all(file, format!("{text}\n").as_bytes()))?)
}
