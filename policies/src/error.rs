//! Errors of policies.

use std::path::{Path, PathBuf};

/// An error of a policy.
///
/// Your own policy returns [`PolicyError::NotFinite`] or [`PolicyError::GradientNotFinite`] when it diverges, directly
/// or as the source of its own error type; the training loop then stops the run as diverged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The operating system failed to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A checkpoint file is malformed.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// An argument of a call is out of range, or two arguments do not fit each other.
    #[error("{what}: expected {expected}, got {got}")]
    Argument {
        /// Name of the argument.
        what: String,
        /// The expected value.
        expected: String,
        /// The given value.
        got: String,
    },
    /// A number that must be finite is not.
    #[error("{what} of episode {episode}, step {step} is {value}; it must be finite")]
    NotFinite {
        /// Name of the number.
        what: String,
        /// Index of the episode in the batch.
        episode: usize,
        /// Index of the decision in the episode.
        step: usize,
        /// The value.
        value: f64,
    },
    /// A gradient that must be finite is not.
    #[error("{reason}")]
    GradientNotFinite {
        /// The gradient, described in a sentence.
        reason: String,
    },
}

impl PolicyError {
    /// Wraps a system error with its path.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Reports a malformed file.
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// Whether an error, or one of its sources, reports non-finite numbers of a policy.
    pub fn is_divergence(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut chain = std::iter::successors(Some(error), |error| error.source());
        chain.any(|error| matches!(error.downcast_ref(), Some(Self::NotFinite { .. } | Self::GradientNotFinite { .. })))
    }
}
