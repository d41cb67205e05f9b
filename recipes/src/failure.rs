use std::error::Error;
use std::fmt;
use std::path::Path;

use ::search::SearchError;
use models::ModelError;
use policies::{BoxError, PolicyError};

/// The error of every verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The work failed.
    Failed(String),
    /// Wrong usage: the settings are invalid.
    Usage(String),
    /// The work was interrupted, which is no error.
    Interrupted,
    /// Another of the processes that work together has failed, and says why.
    OfOtherRank(usize),
}

impl Failure {
    /// The work failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Names the file or folder that the system refused to read or write.
    pub fn of_file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Failed(format!("{}: {error}", path.display()))
    }

    /// Wrong usage: the settings are invalid.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Whether it is an interrupt rather than an error.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// Whether another of the processes that work together has failed, and says why.
    pub fn is_of_other_rank(&self) -> bool {
        matches!(self, Self::OfOtherRank(_))
    }

    /// Whether the settings are invalid.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }

    /// The same failure with another name for something in it, such as a temporary file.
    #[must_use]
    pub fn naming(self, name: &str, called: &str) -> Self {
        match self {
            Self::Failed(message) => Self::Failed(message.replace(name, called)),
            Self::Usage(message) => Self::Usage(message.replace(name, called)),
            Self::Interrupted | Self::OfOtherRank(_) => self,
        }
    }

    /// The same failure with a prefix that names its place.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        match self {
            Self::Failed(message) => Self::Failed(format!("{place}: {message}")),
            Self::Usage(message) => Self::Usage(format!("{place}: {message}")),
            Self::Interrupted | Self::OfOtherRank(_) => self,
        }
    }

    /// Reports any error; causes that its text does not mention are appended.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::Failed(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) | Self::Usage(message) => f.write_str(message),
            Self::Interrupted => f.write_str("interrupted"),
            Self::OfOtherRank(rank) => write!(f, "rank {rank} has failed, and says why"),
        }
    }
}

/// Each message is one sentence with its causes.
macro_rules! failed {
    ($($Error:ty),+) => {
        $(
            impl From<$Error> for Failure {
                fn from(error: $Error) -> Self {
                    Self::of(&error)
                }
            }
        )+
    };
}

failed!(
    std::io::Error,
    serde_json::Error,
    candle_core::Error,
    image::ImageError,
    mdp::MdpError,
    engine::EngineError,
    objectives::ObjectiveError,
    datasets::DatasetError,
    ::report::Error,
    hub::HubError
);

impl From<::train::TrainError> for Failure {
    fn from(error: ::train::TrainError) -> Self {
        match error {
            ::train::TrainError::OtherRank { rank } => Self::OfOtherRank(rank),
            other => Self::of(&other),
        }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Interrupted => Self::Interrupted,
            ModelError::Policy(error) => error.into(),
            other => Self::of(&other),
        }
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Interrupted => Self::Interrupted,
            other => Self::of(&other),
        }
    }
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Policy(error) => error.into(),
            other => Self::of(&other),
        }
    }
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        Self::of(&*error)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::failed(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_stays_one_whoever_reports_it() {
        let of_model = || ModelError::from(PolicyError::Interrupted);
        let search = SearchError::Policy(of_model().into());
        for failure in [Failure::from(of_model()), PolicyError::Interrupted.into(), search.into()] {
            assert_eq!(failure.within("a place"), Failure::Interrupted);
        }
        let other = Failure::from(PolicyError::from("no weights"));
        assert_eq!(other.within("a place").to_string(), "a place: no weights");
    }

    #[test]
    fn a_file_that_the_system_refuses_is_named() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Failure::of_file(Path::new("a/b"))(full).to_string(), "a/b: no storage space");
    }

    #[test]
    fn causes_are_appended_once() {
        let cause = std::io::Error::other("the disk is full");
        let error = ::train::TrainError::Fingerprint { what: "reference", source: cause.into() };
        assert_eq!(Failure::from(error).to_string(), "no fingerprint of the reference: the disk is full");
    }
}
