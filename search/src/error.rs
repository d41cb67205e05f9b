use policies::PolicyError;

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A parameter of a method, or the budget, is 0 but must be at least 1.
    #[error("{what} is 0, but it must be at least 1")]
    Zero {
        /// The parameter.
        what: &'static str,
    },
    /// A parameter of a method exceeds another.
    #[error("{what} is {got}, but there are only {most} {of}")]
    TooMany {
        /// The parameter.
        what: &'static str,
        /// Its value.
        got: usize,
        /// The quantity that bounds it.
        of: &'static str,
        /// The largest allowed value.
        most: usize,
    },
    /// A parameter of a method is invalid.
    #[error("{what} is {got}, but it must be {expected}")]
    Setting {
        /// The parameter.
        what: &'static str,
        /// Its value.
        got: f64,
        /// The valid values.
        expected: &'static str,
    },
    /// The number of inputs differs from the number of starts, or of gains from candidates.
    #[error("{what}: expected {expected}, got {got}")]
    Count {
        /// The inputs.
        what: &'static str,
        /// The required number.
        expected: usize,
        /// The given number.
        got: usize,
    },
    /// A score or a log-probability is not finite.
    #[error("{what} of decision {step} from start {start} is {value}; it must be finite")]
    NotFinite {
        /// The number's name.
        what: &'static str,
        /// Index of the start.
        start: usize,
        /// Index of the decision in its episode.
        step: usize,
        /// The number itself.
        value: f64,
    },
    /// The policy proposes no action in a non-terminal state.
    #[error("no action is on offer for decision {step} from start {start}")]
    Stuck {
        /// Index of the start.
        start: usize,
        /// Index of the decision in its episode.
        step: usize,
    },
    /// A drawn or proposed action is not allowed by the problem.
    #[error("the action on offer for decision {step} from start {start} is not one that the problem allows")]
    NotAllowed {
        /// Index of the start.
        start: usize,
        /// Index of the decision in its episode.
        step: usize,
    },
    /// A policy failed, or the `watch` callback returned an error.
    #[error("{0}")]
    Policy(#[source] PolicyError),
}

/// The result of a search.
pub type Result<T> = std::result::Result<T, SearchError>;

/// Checks the number of inputs.
pub(crate) fn count(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(SearchError::Count { what, expected, got }) }
}

/// Checks that a parameter of a method is at least 1.
pub(crate) fn at_least_one(what: &'static str, number: usize) -> Result<()> {
    if number > 0 { Ok(()) } else { Err(SearchError::Zero { what }) }
}

/// Checks that a parameter of a method is finite.
pub(crate) fn finite(what: &'static str, got: f64) -> Result<()> {
    if got.is_finite() { Ok(()) } else { Err(SearchError::Setting { what, got, expected: "finite" }) }
}
