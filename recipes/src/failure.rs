use std::error::Error;
use std::fmt;

use models::ModelError;

/// Why the program ends without having done what it was asked, and with which exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The exit code of what was interrupted.
    const INTERRUPTED: u8 = 130;

    /// The work failed: 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The command line makes no sense: 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// Whether nothing is wrong but that somebody wanted it to stop.
    pub fn is_interrupt(&self) -> bool {
        self.code == Self::INTERRUPTED
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The same failure, said to be of `place`.
    pub fn within(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Any error is a failure; causes that its text does not mention are appended.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut message = error.to_string();
        let mut source = error.source();
        if let Some(ModelError::Interrupted) = error.downcast_ref() {
            return Self { code: Self::INTERRUPTED, message };
        }
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::failed(message)
    }
}
