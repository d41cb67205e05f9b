use std::path::PathBuf;

use objectives::ObjectiveError;
use policies::{BoxError, PolicyError};

/// Why training stopped without an end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss could not be computed from the numbers.
    #[error("step {step}: {source}; examples {examples:?}")]
    Objective {
        /// Which step.
        step: usize,
        /// The positions in the data of the examples that were being scored.
        examples: Vec<usize>,
        /// What the objective says.
        #[source]
        source: ObjectiveError,
    },
    /// Numbers that were finite are so no more.
    #[error(
        "the run diverged after step {step}: {what}; lower the learning rate (--lr), warm up longer or clip the gradient \
         harder"
    )]
    Diverged {
        /// Steps done before.
        step: usize,
        /// Which number.
        what: String,
    },
    /// The policy failed.
    #[error("step {step}: {source}")]
    Policy {
        /// Which step.
        step: usize,
        /// What the policy says.
        #[source]
        source: BoxError,
    },
    /// An example could not be read.
    #[error("example {index} of the {what} data: {source}")]
    Data {
        /// Training or held-out.
        what: &'static str,
        /// Which example.
        index: usize,
        /// What the data says.
        #[source]
        source: BoxError,
    },
    /// There is nothing to learn from.
    #[error("the {0} data has no examples")]
    Empty(&'static str),
    /// The objective compares with a reference and there is none.
    #[error("this objective compares with a reference policy, and none was given")]
    NoReference,
    /// The settings make no sense.
    #[error(transparent)]
    Settings(#[from] crate::SettingsError),
    /// A file of the run could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file of the run does not hold what it should.
    #[error("{}: {what}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl TrainError {
    /// What a policy says in a step; numbers that were finite before the first step and are not later mean divergence.
    pub(crate) fn of_policy(step: usize, source: BoxError) -> Self {
        if step > 0 && PolicyError::is_divergence(&*source) {
            Self::Diverged { step, what: source.to_string() }
        } else {
            Self::Policy { step, source }
        }
    }

    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
