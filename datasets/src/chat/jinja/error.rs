//! Why a template can't be compiled or rendered.

/// Why a template can't be compiled or rendered, and the line where it shows.
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

    /// The error in this line, unless it knows a nearer one.
    pub(super) fn on(self, line: usize) -> Self {
        Self { line: self.line.or(Some(line)), ..self }
    }
}
