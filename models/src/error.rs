//! Errors of model files, tensors and numbers.

use std::path::{Path, PathBuf};

use policies::PolicyError;

/// An error of loading, saving or running a model.
///
/// Every variant carries the facts needed to act: the file, the tensor or setting, the expected and the actual value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The caller requested a stop.
    #[error("interrupted")]
    Interrupted,
    /// An I/O error.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder in question.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A JSON file does not parse, or a field has the wrong type.
    #[error("{}:{line}:{column}: broken JSON: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's message.
        reason: String,
    },
    /// A model file is damaged, incomplete, or of an unsupported kind.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// The reason, and what to do about it.
        reason: String,
    },
    /// A tensor of a file has an invalid header, shape or number.
    #[error("{}: tensor `{tensor}`: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Name of the tensor in that file.
        tensor: String,
        /// The reason.
        reason: String,
    },
    /// A setting of a model's config is missing, invalid or not supported.
    #[error("setting `{key}`: {reason}")]
    Config {
        /// The key, as in `config.json`.
        key: String,
        /// The reason.
        reason: String,
    },
    /// The architecture is not supported.
    #[error("architecture `{found}` is not supported; supported: {supported}")]
    Architecture {
        /// The architecture in the file.
        found: String,
        /// The supported ones.
        supported: String,
    },
    /// Text must be tokenised, but the model has no tokenizer.
    #[error("{}: no tokenizer.json, so text can't be turned into tokens; put the model's tokenizer.json beside its weights", path.display())]
    NoTokenizer {
        /// The model's file or folder.
        path: PathBuf,
    },
    /// A tokenizer or chat template is damaged or refuses its input.
    #[error("{}: tokenizer: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// An argument is out of range, or two arguments do not fit each other.
    #[error("{what}: expected {expected}, got {got}")]
    Argument {
        /// The argument.
        what: String,
        /// The valid values.
        expected: String,
        /// The given value.
        got: String,
    },
    /// A policy's number is not finite.
    #[error("{0}")]
    Policy(#[source] PolicyError),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensors(#[from] candle_core::Error),
    /// The engine refused a setting or a tensor.
    #[error(transparent)]
    Engine(engine::EngineError),
}

/// A non-finite gradient becomes a policy error, by which the training loop detects divergence.
impl From<engine::EngineError> for ModelError {
    fn from(error: engine::EngineError) -> Self {
        match error {
            engine::EngineError::NonFiniteGradient { .. } => {
                Self::Policy(PolicyError::GradientNotFinite { reason: error.to_string() })
            }
            other => Self::Engine(other),
        }
    }
}

/// A model error inside a policy error stays what it is: interrupted, a number that is not finite, or another.
impl From<ModelError> for PolicyError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Policy(error) => error,
            ModelError::Interrupted => Self::Interrupted,
            other => Self::other(other),
        }
    }
}

/// A request to stop is a model's own variant.
impl From<PolicyError> for ModelError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Interrupted => Self::Interrupted,
            other => Self::Policy(other),
        }
    }
}

impl ModelError {
    /// Wraps an I/O error with its path.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Reports a non-finite number of a policy.
    pub fn not_finite(what: impl Into<String>, episode: usize, step: usize, value: f64) -> Self {
        Self::Policy(PolicyError::NotFinite { what: what.into(), episode, step, value })
    }

    /// Reports a damaged or unreadable file.
    pub fn format(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// Reports one tensor of a file.
    pub fn tensor(path: impl AsRef<Path>, tensor: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Tensor { path: path.as_ref().to_path_buf(), tensor: tensor.into(), reason: reason.into() }
    }

    /// Reports a setting of a model's configuration.
    pub fn config(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { key: key.into(), reason: reason.into() }
    }

    /// Wraps a JSON error with the file it came from.
    pub fn json(path: impl AsRef<Path>, error: &serde_json::Error) -> Self {
        let reason = error.to_string();
        // serde_json ends its message with the position, which is already in ours.
        let reason = reason.split(" at line ").next().unwrap_or(&reason).to_owned();
        Self::Json { path: path.as_ref().to_path_buf(), line: error.line(), column: error.column(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_reports_stays_what_it_is() {
        let diverged = PolicyError::from(ModelError::not_finite("log-probability", 1, 2, f64::NAN));
        assert!(diverged.is_divergence());
        assert!(PolicyError::from(ModelError::from(diverged)).is_divergence());
        let gradient = engine::EngineError::NonFiniteGradient { name: "w".into() };
        assert!(PolicyError::from(ModelError::from(gradient)).is_divergence());
        assert!(matches!(PolicyError::from(ModelError::Interrupted), PolicyError::Interrupted));
        assert!(matches!(ModelError::from(PolicyError::Interrupted), ModelError::Interrupted));
        let other = PolicyError::from(ModelError::config("hidden_size", "is missing"));
        assert!(matches!(other, PolicyError::Other(_)) && !other.is_divergence());
        assert_eq!(other.to_string(), "setting `hidden_size`: is missing");
    }
}
