//! What can go wrong in a policy.

use std::path::{Path, PathBuf};

/// An error of a policy.
///
/// A policy of one's own raises [`PolicyError::NotFinite`] or [`PolicyError::GradientNotFinite`] where it diverges, alone
/// or as the source of an error of its own, and the training loop stops the run as diverged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The operating system refused to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder in question.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what the policy wrote.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument of a call is out of range, or two arguments do not fit each other.
    #[error("{what}: expected {expected}, got {got}")]
    Argument {
        /// The argument.
        what: String,
        /// What it must be.
        expected: String,
        /// What it was.
        got: String,
    },
    /// A number that must be finite is not.
    #[error("{what} of episode {episode}, step {step} is {value}; it must be finite")]
    NotFinite {
        /// Which number.
        what: String,
        /// Index of the episode in the batch.
        episode: usize,
        /// Index of the decision in the episode.
        step: usize,
        /// The number itself.
        value: f64,
    },
    /// A gradient that must be finite is not.
    #[error("{reason}")]
    GradientNotFinite {
        /// Which gradient, as a sentence.
        reason: String,
    },
}

impl PolicyError {
    /// Wraps a system error with the path it is about.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Reports a damaged or unreadable file.
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// Whether an error, or one it comes from, says that a policy's numbers are not finite.
    pub fn is_divergence(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut chain = std::iter::successors(Some(error), |error| error.source());
        chain.any(|error| matches!(error.downcast_ref(), Some(Self::NotFinite { .. } | Self::GradientNotFinite { .. })))
    }
}
