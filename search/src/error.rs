use policies::BoxError;

/// Why a search could not be made, or did not come to an end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A number of a method, or the budget, that must be at least 1 is 0.
    #[error("{what} is 0, but it must be at least 1")]
    Zero {
        /// Which number.
        what: &'static str,
    },
    /// A number of a method is larger than another allows.
    #[error("{what} is {got}, but there are only {most} {of}")]
    TooMany {
        /// Which number.
        what: &'static str,
        /// What was given.
        got: usize,
        /// Of what there are not so many.
        of: &'static str,
        /// The most that it may be.
        most: usize,
    },
    /// A number of a method makes no sense.
    #[error("{what} is {got}, but it must be {expected}")]
    Setting {
        /// Which number.
        what: &'static str,
        /// What was given.
        got: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// There is not one of something for each start, or for each candidate.
    #[error("{what}: expected {expected}, got {got}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there must be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A score or a log-probability is not finite.
    #[error("{what} of decision {step} from start {start} is {value}; it must be finite")]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// Index of the start.
        start: usize,
        /// Index of the decision in its episode.
        step: usize,
        /// The number itself.
        value: f64,
    },
    /// The policy proposes nothing in a state that is not terminal.
    #[error("no action is on offer for decision {step} from start {start}")]
    Stuck {
        /// Index of the start.
        start: usize,
        /// Index of the decision in its episode.
        step: usize,
    },
    /// An action was drawn or proposed that the problem does not allow.
    #[error("the action on offer for decision {step} from start {start} is not one that the problem allows")]
    NotAllowed {
        /// Index of the start.
        start: usize,
        /// Index of the decision in its episode.
        step: usize,
    },
    /// A policy failed, or whoever watched ended the search.
    #[error("{0}")]
    Policy(#[source] BoxError),
}

/// What comes out of a search.
pub type Result<T> = std::result::Result<T, SearchError>;

/// Checks that there are as many of something as there must be.
pub(crate) fn count(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(SearchError::Count { what, expected, got }) }
}

/// Checks that a number of a method is at least 1.
pub(crate) fn at_least_one(what: &'static str, number: usize) -> Result<()> {
    if number > 0 { Ok(()) } else { Err(SearchError::Zero { what }) }
}

/// Checks that a number of a method is finite.
pub(crate) fn finite(what: &'static str, got: f64) -> Result<()> {
    if got.is_finite() { Ok(()) } else { Err(SearchError::Setting { what, got, expected: "finite" }) }
}
