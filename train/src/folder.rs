use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use policies::{Persist, PolicyError};

use crate::files::{is_leftover, remove_leftovers, replace, temporary_folder, write_whole};
use crate::{CacheKey, Record, TrainError};

/// The progress of a run, saved with every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Optimiser steps done.
    pub step: usize,
    /// Training examples seen.
    pub examples: usize,
    /// Tokens seen, if the problem counts them; absent in checkpoints of earlier versions.
    #[serde(default)]
    pub tokens: usize,
    /// What the objective remembers of the steps so far, if it does; absent in checkpoints of earlier versions.
    #[serde(default)]
    pub objective: Vec<f64>,
    /// The run's seed. Random draws are a function of it and the step, so there is no generator state.
    pub seed: u64,
    /// The initial model and the training data.
    pub key: CacheKey,
}

/// The folders that every run has from its start.
const SUBFOLDERS: [&str; 3] = ["checkpoints", "samples", "tensorboard"];

/// A run's folder: `metrics.jsonl`, `tensorboard/`, `samples/`, `checkpoints/step-N/`, `model/`, `best/`, `report/`,
/// `report.html`. A run of the program has its settings there too, `config.toml`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Checks that [`create`](Self::create) may take a path, before the work whose result it will hold. What a run left that
    /// ended before anything was in its folder does not count.
    ///
    /// # Errors
    /// It is a folder with something in it, a file, or can't be read.
    pub fn check_free(path: &Path) -> Result<(), TrainError> {
        if !path.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(path).map_err(TrainError::io(path))? {
            let entry = entry.map_err(TrainError::io(path))?;
            let is_ours = entry.file_name().to_str().is_some_and(|name| SUBFOLDERS.contains(&name));
            let is_empty = || fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
            if !(is_leftover(&entry.path()) || is_ours && is_empty()) {
                return Err(TrainError::Occupied(path.to_owned()));
            }
        }
        Ok(())
    }

    /// Creates the folder; an existing one must be empty.
    ///
    /// # Errors
    /// It is not empty, or can't be read or created.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        Self::check_free(path)?;
        for sub in SUBFOLDERS {
            let sub = path.join(sub);
            fs::create_dir_all(&sub).map_err(TrainError::io(&sub))?;
        }
        remove_leftovers(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Opens the folder of an existing run, or creates one.
    ///
    /// # Errors
    /// It holds something else, or can't be created.
    pub fn at(path: &Path) -> Result<Self, TrainError> {
        if path.join("checkpoints").is_dir() { Ok(Self { path: path.to_owned() }) } else { Self::create(path) }
    }

    /// Opens the folder of an existing run without changing anything in it, since the run may be in progress.
    ///
    /// # Errors
    /// It is not a run's folder.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        if !path.is_dir() {
            return Err(TrainError::NoFolder(path.to_owned()));
        }
        if !path.join("checkpoints").is_dir() {
            return Err(TrainError::NotARun { path: path.to_owned(), lacks: "checkpoints/" });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Locks the folder against other training processes until the lock is dropped.
    ///
    /// # Errors
    /// Another process holds the lock.
    pub fn lock(&self) -> Result<File, TrainError> {
        let config = self.join("config.toml");
        let path = if config.is_file() { config } else { self.join("run.lock") };
        let mut options = File::options();
        let options = if path.is_file() { options.read(true) } else { options.create(true).append(true) };
        let file = options.open(&path).map_err(TrainError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(TrainError::Locked(self.path.clone())),
            Err(fs::TryLockError::Error(error)) => Err(TrainError::io(&path)(error)),
        }
    }

    /// The folder of what a report reads beside metrics and samples; runs of earlier versions get one.
    ///
    /// # Errors
    /// It can't be created.
    pub fn report(&self) -> Result<PathBuf, TrainError> {
        let path = self.join("report");
        fs::create_dir_all(&path).map_err(TrainError::io(&path))?;
        Ok(path)
    }

    /// The path of a name in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Saves a checkpoint atomically. Removes all but the newest `keep` (0: none is removed).
    ///
    /// # Errors
    /// A file can't be written, or an old checkpoint not removed.
    pub fn save(&self, position: &Position, learner: &impl Persist, keep: usize) -> Result<PathBuf, TrainError> {
        self.save_by(position, keep, |folder| learner.save_checkpoint(folder))
    }

    /// As [`save`](Self::save), by a function that writes the learner's state into a folder.
    pub(crate) fn save_by(
        &self,
        position: &Position,
        keep: usize,
        save: impl FnOnce(&Path) -> Result<(), PolicyError>,
    ) -> Result<PathBuf, TrainError> {
        let parent = self.join("checkpoints");
        let failed = |source| TrainError::Policy { step: position.step, source };
        let building = temporary_folder(&parent)?;
        save(building.path()).map_err(failed)?;
        let state = building.path().join("position.json");
        let text = serde_json::to_vec_pretty(position).map_err(|e| failed(PolicyError::other(e)))?;
        write_whole(&state, |file| file.write_all(&text))?;
        let target = parent.join(format!("step-{}", position.step));
        replace(building, &target)?;
        if keep > 0 {
            let steps = self.checkpoints()?;
            for step in &steps[..steps.len().saturating_sub(keep)] {
                let old = parent.join(format!("step-{step}"));
                fs::remove_dir_all(&old).map_err(TrainError::io(&old))?;
            }
        }
        Ok(target)
    }

    /// The steps of the existing checkpoints, oldest first.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn checkpoints(&self) -> Result<Vec<usize>, TrainError> {
        let parent = self.join("checkpoints");
        let mut steps = Vec::new();
        for entry in fs::read_dir(&parent).map_err(TrainError::io(&parent))? {
            let name = entry.map_err(TrainError::io(&parent))?.file_name();
            if let Some(step) = name.to_str().and_then(|n| n.strip_prefix("step-")).and_then(|n| n.parse().ok()) {
                steps.push(step);
            }
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Restores the newest checkpoint and removes unfinished files; a run killed before its first checkpoint starts
    /// again.
    ///
    /// # Errors
    /// The checkpoint is damaged or of another kind of learner; unfinished files can't be removed.
    pub fn restore(&self, learner: &mut impl Persist) -> Result<Position, TrainError> {
        for parent in [self.path.clone(), self.join("checkpoints"), self.join("samples"), self.report()?] {
            remove_leftovers(&parent)?;
        }
        self.restored(learner)
    }

    /// Restores the newest checkpoint and changes nothing in the folder.
    ///
    /// # Errors
    /// The checkpoint is damaged or of another kind of learner.
    pub(crate) fn restored(&self, learner: &mut impl Persist) -> Result<Position, TrainError> {
        let Some(step) = self.checkpoints()?.pop() else { return Ok(Position::default()) };
        let folder = self.join("checkpoints").join(format!("step-{step}"));
        let path = folder.join("position.json");
        let text = fs::read(&path).map_err(TrainError::io(&path))?;
        let position: Position = serde_json::from_slice(&text)
            .map_err(|e| TrainError::Malformed { path: path.clone(), what: e.to_string() })?;
        learner.restore_checkpoint(&folder).map_err(|source| TrainError::Policy { step, source })?;
        Ok(position)
    }

    /// Exports the policy in its ecosystem's format, atomically, to `model/`.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn export(&self, learner: &impl Persist, step: usize) -> Result<PathBuf, TrainError> {
        self.export_to("model", learner, step, None)
    }

    /// Exports the best policy so far to `best/`, with the record of its evaluation beside it, `evaluation.json`.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn export_best(&self, learner: &impl Persist, record: &Record) -> Result<PathBuf, TrainError> {
        self.export_to("best", learner, record.step, Some(("evaluation.json", format!("{:#}\n", record.to_json()))))
    }

    fn export_to(
        &self,
        name: &str,
        learner: &impl Persist,
        step: usize,
        beside: Option<(&str, String)>,
    ) -> Result<PathBuf, TrainError> {
        let building = temporary_folder(&self.path)?;
        learner.export(building.path()).map_err(|source| TrainError::Policy { step, source })?;
        if let Some((name, text)) = beside {
            write_whole(&building.path().join(name), |file| file.write_all(text.as_bytes()))?;
        }
        let target = self.join(name);
        replace(building, &target)?;
        Ok(target)
    }
}
