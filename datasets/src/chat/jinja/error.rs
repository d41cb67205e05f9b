//! Errors of compiling and rendering templates.

/// An error of a template, and its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .line.map(|line| format!(" (line {line} of the template)")).unwrap_or_default())]
pub(crate) struct Error {
    message: String,
    line: Option<usize>,
}

pub(super) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: None }
    }

    pub(super) fn at(message: impl Into<String>, line: usize) -> Self {
        Self { message: message.into(), line: Some(line) }
    }

    /// Sets the line unless a more precise one is set.
    pub(super) fn on(self, line: usize) -> Self {
        Self { line: self.line.or(Some(line)), ..self }
    }
}
