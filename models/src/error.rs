//! What can go wrong in a model: its files, its tensors, its numbers.

use std::path::{Path, PathBuf};

/// An error of loading, saving or running a model.
///
/// Every variant carries the facts a person needs to act: the file, the tensor or setting, what was expected and what
/// was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Whoever asked for the work wanted it no more before it was done.
    #[error("interrupted")]
    Interrupted,
    /// The operating system refused to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder in question.
        path: PathBuf,
        /// The system's reason.
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
        /// What the parser said.
        reason: String,
    },
    /// A model file is damaged, incomplete, or of a kind that is not read here.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// One tensor of a file is wrong: its header, its shape, its numbers.
    #[error("{}: tensor `{tensor}`: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Name of the tensor in that file.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A setting of a model's configuration is missing, impossible or not supported.
    #[error("setting `{key}`: {reason}")]
    Config {
        /// The key, as in `config.json`.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The model is of an architecture that is not built here.
    #[error("architecture `{found}` is not supported; supported: {supported}")]
    Architecture {
        /// What the file says.
        found: String,
        /// What would be accepted.
        supported: String,
    },
    /// Text must be tokenised, and the model came without a tokenizer.
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
        /// What is wrong.
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
    /// The model as a policy: a number that must be finite is not.
    #[error("{0}")]
    Policy(#[from] policies::PolicyError),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensors(#[from] candle_core::Error),
    /// The engine refused a setting or a tensor.
    #[error(transparent)]
    Engine(engine::EngineError),
}

/// A gradient that is not finite is the policy's affair: the loop tells by it that a run diverged.
impl From<engine::EngineError> for ModelError {
    fn from(error: engine::EngineError) -> Self {
        match error {
            engine::EngineError::NonFiniteGradient { .. } => {
                Self::Policy(policies::PolicyError::GradientNotFinite { reason: error.to_string() })
            }
            other => Self::Engine(other),
        }
    }
}

impl ModelError {
    /// Takes back an error that a model raised as a policy.
    pub(crate) fn of_policy(error: policies::BoxError) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return *own,
            Err(error) => error,
        };
        match error.downcast::<policies::PolicyError>() {
            Ok(error) => Self::Policy(*error),
            Err(error) => Self::Argument {
                what: "a policy in the act".into(),
                expected: "no error".into(),
                got: error.to_string(),
            },
        }
    }

    /// Wraps a system error with the path it is about.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Reports a number of a policy's that must be finite.
    pub fn not_finite(what: impl Into<String>, episode: usize, step: usize, value: f64) -> Self {
        Self::Policy(policies::PolicyError::NotFinite { what: what.into(), episode, step, value })
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
