//! What training returns, and the folders of its runs.
use std::path::{Path, PathBuf};

use ::train::{RunFolder, RunSummary, TrainError};

use crate::embedded::JudgedPolicy;
use crate::settings::Modality;

/// The result of a training run.
#[derive(Debug)]
pub struct Trained {
    /// Its folder; for rounds the folder of all rounds.
    pub folder: PathBuf,
    /// Its status at the end.
    pub status: TrainingStatus,
    /// The summary of the run; `None` for rounds, each of which is a run.
    pub outcome: Option<RunSummary>,
    /// The metrics of a finished run as a printable table.
    pub table: String,
    /// The policies that the oracle of an embedded problem compared, the start first; empty without a comparison.
    pub judged: Vec<JudgedPolicy>,
    /// The type of the weights in `model/`, where it is that of the model which training began with and has fewer digits than
    /// training.
    pub rounded: Option<&'static str>,
    /// The first and the last step with pictures in the folder's `samples`.
    pub pictures: Option<(usize, usize)>,
    /// The suggested next verb.
    pub suggestion: Option<Suggestion>,
}

/// The status of training at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainingStatus {
    /// All steps are done.
    Finished,
    /// All steps were done before; nothing has changed.
    FinishedBefore {
        /// The number of steps.
        steps: usize,
        /// Whether evaluations had stopped improving, so that more steps change nothing.
        is_early: bool,
    },
    /// The plan of a run was made, which the table has.
    Planned,
    /// The reference's numbers were computed.
    Precomputed {
        /// The number of examples in the file.
        examples: usize,
        /// Whether it was stopped before all of them were.
        is_interrupted: bool,
    },
    /// All rounds are done.
    RoundsFinished {
        /// The folder of the last run.
        last: PathBuf,
    },
    /// It was stopped and can be resumed.
    Interrupted {
        /// The number of finished steps of a single run.
        after: Option<usize>,
    },
    /// A round waits for human judgements of its pairs.
    AwaitingLabels {
        /// The round.
        round: usize,
        /// The folder of its pairs.
        pairs: PathBuf,
    },
}

/// A suggested next verb after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suggestion {
    /// Sample answers or pictures.
    Sample {
        /// The kind of problem.
        mdp: Modality,
        /// The prompts to sample for; `None` where none are known.
        prompts: Option<String>,
    },
    /// Ask a model for chats.
    Chat,
    /// Score beside the starting model.
    Score {
        /// The starting model.
        reference: String,
        /// The data: the setting's path, and its value.
        data: (&'static str, String),
    },
}

impl Trained {
    /// A status without results.
    pub(crate) fn of(folder: &Path, status: TrainingStatus) -> Self {
        let (table, judged) = (String::new(), Vec::new());
        let (outcome, rounded, pictures, suggestion) = (None, None, None, None);
        Self { folder: folder.to_owned(), status, outcome, table, judged, rounded, pictures, suggestion }
    }

    /// A stopped run.
    pub(crate) fn interrupted(folder: &RunFolder, outcome: RunSummary) -> Self {
        let status = TrainingStatus::Interrupted { after: Some(outcome.steps) };
        Self { outcome: Some(outcome), ..Self::of(folder.path(), status) }
    }
}

/// Opens the folder of a run of this crate: one with its settings.
///
/// # Errors
/// It is not one.
pub(crate) fn open_run(path: &Path) -> Result<RunFolder, TrainError> {
    if path.is_dir() && !(path.join("config.toml").is_file() && path.join("checkpoints").is_dir()) {
        return Err(TrainError::NotARun { path: path.to_owned(), lacks: "config.toml and checkpoints/" });
    }
    RunFolder::open(path)
}
