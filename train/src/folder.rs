use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use policies::Persist;

use crate::{CacheKey, TrainError};

/// Writes a file atomically: to a temporary name beside it, synced, then renamed.
pub fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), TrainError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let temporary = shared(tempfile::Builder::new().prefix(BUILDING), 0o666).tempfile_in(folder)?;
        let (file, name) = temporary.into_parts();
        let mut writer = BufWriter::new(file);
        fill(&mut writer)?;
        writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        name.persist(path).map_err(|e| e.error)
    };
    write().map_err(|e| TrainError::io(path)(plain(e)))
}

/// Writes lines atomically, as [`write_whole`].
pub fn write_lines(path: &Path, lines: impl IntoIterator<Item = impl Display>) -> Result<(), TrainError> {
    write_whole(path, |file| lines.into_iter().try_for_each(|line| writeln!(file, "{line}")))
}

/// Checks that [`write_whole`] can write `path`, before the work whose result it will hold.
///
/// # Errors
/// It is a folder, or its parent does not exist or is not writable.
pub fn can_write(path: &Path) -> Result<(), TrainError> {
    if path.is_dir() {
        return Err(TrainError::IsFolder(path.to_owned()));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = tempfile::Builder::new().prefix(BUILDING).tempfile_in(folder);
    probe.map(drop).map_err(|e| TrainError::io(path)(plain(e)))
}

/// The system's error without the temporary file name that tempfile adds.
fn plain(error: std::io::Error) -> std::io::Error {
    match error.to_string().split_once(" at path \"") {
        Some((reason, _)) => std::io::Error::new(error.kind(), reason),
        None => error,
    }
}

/// Prefix of temporary names; files left by a killed process are removed on resume.
const BUILDING: &str = ".building-";

fn temporary_folder(parent: &Path) -> Result<tempfile::TempDir, TrainError> {
    shared(tempfile::Builder::new().prefix(BUILDING), 0o777)
        .tempdir_in(parent)
        .map_err(|e| TrainError::io(parent)(plain(e)))
}

/// Applies the user's default permissions: temporary files are private, finished ones should be as readable as other
/// files.
fn shared<'a, 'p, 's>(builder: &'a mut tempfile::Builder<'p, 's>, mode: u32) -> &'a mut tempfile::Builder<'p, 's> {
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Moves a finished folder into place. The old one is kept until then under a temporary name.
fn replace(building: tempfile::TempDir, target: &Path) -> Result<(), TrainError> {
    if target.exists() {
        let old = building.path().with_extension("old");
        fs::rename(target, &old).map_err(TrainError::io(target))?;
        fs::rename(building.keep(), target).map_err(TrainError::io(target))?;
        return fs::remove_dir_all(&old).map_err(TrainError::io(&old));
    }
    fs::rename(building.keep(), target).map_err(TrainError::io(target))
}

/// Removes unfinished files left by a killed process, under the temporary names of this crate and of `datasets`.
///
/// # Errors
/// The folder is unreadable, or something in it can't be removed.
pub fn remove_leftovers(parent: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(parent).map_err(TrainError::io(parent))? {
        let path = entry.map_err(TrainError::io(parent))?.path();
        // A writer of folders may put its own unfinished one beside ours, with one more dot.
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.starts_with(BUILDING) || name.strip_prefix('.').is_some_and(|n| n.starts_with(BUILDING)) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(TrainError::io(&path))?;
        }
    }
    Ok(())
}

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
    /// The run's seed. Random draws are a function of it and the step, so there is no generator state.
    pub seed: u64,
    /// The initial model and the training data.
    pub key: CacheKey,
}

/// A run's folder: `metrics.jsonl`, `tensorboard/`, `samples/`, `checkpoints/step-N/`, `model/`, `report/`, `report.html`. A
/// run of the program has its settings there too, `config.toml`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Creates the folder; an existing one must be empty.
    ///
    /// # Errors
    /// It is not empty, or can't be read or created.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        if path.exists() {
            let mut entries = fs::read_dir(path).map_err(TrainError::io(path))?;
            if entries.next().is_some() {
                return Err(TrainError::Occupied(path.to_owned()));
            }
        }
        for sub in ["checkpoints", "samples", "tensorboard"] {
            let sub = path.join(sub);
            fs::create_dir_all(&sub).map_err(TrainError::io(&sub))?;
        }
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
        let parent = self.join("checkpoints");
        let failed = |source| TrainError::Policy { step: position.step, source };
        let building = temporary_folder(&parent)?;
        learner.save_checkpoint(building.path()).map_err(failed)?;
        let state = building.path().join("position.json");
        let text = serde_json::to_vec_pretty(position).map_err(|e| failed(e.into()))?;
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
        let building = temporary_folder(&self.path)?;
        learner.export(building.path()).map_err(|source| TrainError::Policy { step, source })?;
        let target = self.join("model");
        replace(building, &target)?;
        Ok(target)
    }
}
