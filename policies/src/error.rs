//! What can go wrong in a policy: its files, its tensors, its numbers.

use std::path::{Path, PathBuf};

/// An error of loading, saving or running a policy.
///
/// Every variant carries the facts a person needs to act: the file, the tensor or setting, what was expected and what
/// was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
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
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensors(#[from] candle_core::Error),
    /// The engine refused a setting, a tensor or a gradient.
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
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
