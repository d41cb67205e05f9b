use std::path::PathBuf;

use objectives::ObjectiveError;
use policies::{BoxError, PolicyError};

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss could not be computed.
    #[error("step {step}: {source}; examples {examples:?}")]
    Objective {
        /// The step.
        step: usize,
        /// Indices of the examples being scored.
        examples: Vec<usize>,
        /// The objective's error.
        #[source]
        source: ObjectiveError,
    },
    /// The run diverged: a number that was finite became NaN or infinite.
    #[error(
        "the run diverged after step {step}: {what}; lower the learning rate (`optimizer.lr`), warm up longer or clip the \
         gradient harder"
    )]
    Diverged {
        /// Number of completed steps.
        step: usize,
        /// Name of the number.
        what: String,
    },
    /// What was written could not be brought to the disk.
    #[error(transparent)]
    Unsettled(tensorfile::TensorFileError),
    /// The policy failed.
    #[error("step {step}: {source}")]
    Policy {
        /// The step.
        step: usize,
        /// The policy's error.
        #[source]
        source: PolicyError,
    },
    /// An example could not be read.
    #[error("example {index} of the {what} data: {source}")]
    Data {
        /// Training or held-out data.
        what: &'static str,
        /// Index of the example.
        index: usize,
        /// The data's error.
        #[source]
        source: BoxError,
    },
    /// The reference or the data could not be fingerprinted.
    #[error("no fingerprint of the {what}: {source}")]
    Fingerprint {
        /// The reference or the training data.
        what: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// Evaluations have no metric of that name.
    #[error("`train.best_metric` is `{name}`, which evaluations of this run do not have; they have {known}")]
    NoMetric {
        /// The name.
        name: String,
        /// The metrics that there are.
        known: String,
    },
    /// The processes that train together did not start from the same.
    #[error(
        "rank {rank} differs from rank 0 in its {what}: start every process by the same command, with the same program and \
         the same files"
    )]
    Unlike {
        /// The first that differs.
        rank: usize,
        /// The first thing that differs.
        what: &'static str,
    },
    /// The gradients that the processes have summed on their devices are not the same.
    #[error(
        "step {step}: rank {rank} has got another sum of the gradients than rank 0, so their policies would part; go on from \
         the last checkpoint in a build without `--features nccl`, which sums in the hosts' memory"
    )]
    Apart {
        /// The first that differs.
        rank: usize,
        /// The step.
        step: usize,
    },
    /// Another of the processes that train together has failed.
    #[error("rank {rank} has failed, and says why")]
    OtherRank {
        /// Its number.
        rank: usize,
    },
    /// The data are empty.
    #[error("the {0} data has no examples")]
    Empty(&'static str),
    /// The objective needs a reference and none was given.
    #[error("this objective compares with a reference policy, and none was given")]
    NoReference,
    /// A setting is invalid.
    #[error(transparent)]
    Settings(#[from] crate::SettingsError),
    /// A file of the run could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A run is resumed whose folder does not exist.
    #[error("{}: there is no such folder, so no run to resume", .0.display())]
    NoFolder(PathBuf),
    /// The folder is not that of a run.
    #[error("{}: not a run's folder (it has no {lacks}); `resume` takes what `run.out` made", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The files and folders that it lacks.
        lacks: &'static str,
    },
    /// A file is to be written where there is a folder.
    #[error("{}: is a folder; name a file", .0.display())]
    IsFolder(PathBuf),
    /// The folder of a new run is not empty.
    #[error("{}: exists and is not empty; name another folder with `run.out`, or go on with `resume`", .0.display())]
    Occupied(PathBuf),
    /// Another process holds the folder's lock.
    #[error("{}: another process is training in this folder; wait for it, or stop it first", .0.display())]
    Locked(PathBuf),
    /// A run or a reference cache belongs to another model or other data.
    #[error(
        "{}: the {owner} belongs to another {what} (fingerprint {found}, here it is {wanted}); give it the {what} it was \
         made with, or delete it to start anew",
        path.display()
    )]
    OtherKey {
        /// The folder or file.
        path: PathBuf,
        /// The run or the reference cache.
        owner: &'static str,
        /// Model or data.
        what: &'static str,
        /// The start of the fingerprint in the file.
        found: String,
        /// The start of the fingerprint here.
        wanted: String,
    },
    /// A file of the run is malformed.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The fault, and what to do.
        what: String,
    },
}

impl TrainError {
    /// Wraps a policy's error at a step; numbers that become non-finite after the first step are a divergence.
    pub(crate) fn of_policy(step: usize, source: PolicyError) -> Self {
        if step > 0 && source.is_divergence() {
            Self::Diverged { step, what: source.to_string() }
        } else {
            Self::Policy { step, source }
        }
    }

    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_were_finite_before_make_a_divergence() {
        let infinite = || PolicyError::NotFinite { what: "score".into(), episode: 0, step: 1, value: f64::INFINITY };
        let diverged = TrainError::of_policy(3, infinite());
        assert!(matches!(diverged, TrainError::Diverged { step: 3, .. }), "{diverged}");
        assert!(matches!(TrainError::of_policy(0, infinite()), TrainError::Policy { step: 0, .. }));
        let failed = TrainError::of_policy(3, "no memory".into());
        assert!(matches!(&failed, TrainError::Policy { .. }));
        assert_eq!(failed.to_string(), "step 3: no memory");
    }
}
