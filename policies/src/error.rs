//! Errors of policies.

use std::path::{Path, PathBuf};

/// Any error, boxed: of data, of a hand-off, of a policy of your own.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error of a policy.
///
/// Your own policy returns [`PolicyError::NotFinite`] or [`PolicyError::GradientNotFinite`] when it diverges; the training
/// loop then stops the run as diverged. Any other error is [`PolicyError::Other`]: `?` converts texts and boxed errors to
/// it, [`PolicyError::other`] an error type of your own, or a `From` that you write for it.
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
    /// The caller requested a stop.
    #[error("interrupted")]
    Interrupted,
    /// Any other error.
    #[error(transparent)]
    Other(BoxError),
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

    /// Wraps any other error.
    pub fn other(error: impl Into<BoxError>) -> Self {
        Self::Other(error.into())
    }

    /// Whether the policy's numbers are no longer finite.
    pub fn is_divergence(&self) -> bool {
        match self {
            Self::NotFinite { .. } | Self::GradientNotFinite { .. } => true,
            Self::Io { .. } | Self::Format { .. } | Self::Argument { .. } | Self::Interrupted | Self::Other(_) => false,
        }
    }
}

impl From<BoxError> for PolicyError {
    fn from(error: BoxError) -> Self {
        Self::Other(error)
    }
}

impl From<String> for PolicyError {
    fn from(reason: String) -> Self {
        Self::other(reason)
    }
}

impl From<&str> for PolicyError {
    fn from(reason: &str) -> Self {
        Self::other(reason)
    }
}
