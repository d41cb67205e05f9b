/// Why a problem, or what is said about it, cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MdpError {
    /// A row of a transition table has another length than the first.
    #[error("place {place} lists {got} actions, but place 0 lists {expected}")]
    Ragged {
        /// The row.
        place: usize,
        /// How many actions the first row has.
        expected: usize,
        /// How many this one has.
        got: usize,
    },
    /// A transition leads to a place that is not there.
    #[error("action {action} leads from place {place} to place {next}, but there are {n_places} places")]
    UnknownPlace {
        /// Where the transition starts.
        place: usize,
        /// Which action it is.
        action: usize,
        /// Where it leads.
        next: usize,
        /// How many places there are.
        n_places: usize,
    },
    /// More states or episodes than the caller wanted to look at.
    #[error("there are more than {limit} {what}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The most that were allowed.
        limit: usize,
    },
    /// A number that must be finite is not.
    #[error("the {what} of action {action} in {state} is {value}, not a finite number")]
    NotFinite {
        /// Whose number.
        what: &'static str,
        /// The state, printed.
        state: String,
        /// The index of the action.
        action: usize,
        /// The number.
        value: f64,
    },
    /// The probabilities of a policy do not sum to one.
    #[error("the probabilities of the reference sum to {sum} in {state}, not to 1")]
    NotNormalised {
        /// The state, printed.
        state: String,
        /// Their sum.
        sum: f64,
    },
    /// The strength of the pull to the reference makes no sense.
    #[error("beta is {beta}, but it must be positive and finite")]
    Beta {
        /// What was given.
        beta: f64,
    },
    /// A table was made for a problem of another size.
    #[error("the {what} table has {got} numbers, but the problem needs {expected}")]
    TableSize {
        /// Which table.
        what: &'static str,
        /// How many numbers the problem needs.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A number of a noise schedule, or of the timesteps chosen from it, makes no sense.
    #[error("noise schedule: {what} is {value}, but it must be {expected}")]
    Schedule {
        /// Which number.
        what: String,
        /// What was given.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// Law: functions of a problem are pure.
    #[error("{function} gave two different answers for {state}")]
    NotPure {
        /// Which function.
        function: &'static str,
        /// The state, printed.
        state: String,
    },
    /// Law: every episode ends.
    #[error("an episode had not ended after {limit} decisions")]
    Endless {
        /// How long it was followed.
        limit: usize,
    },
    /// Law: a state that is not terminal allows an action.
    #[error("no action is allowed in {state}, which is not terminal")]
    Stuck {
        /// The state, printed.
        state: String,
    },
    /// Law: only allowed actions are taken.
    #[error("action {action} is not allowed in {state}")]
    NotAllowed {
        /// The action, printed.
        action: String,
        /// The state, printed.
        state: String,
    },
    /// Law: nothing follows a terminal state.
    #[error("action {action} is taken after the episode ended in {state}")]
    AfterTheEnd {
        /// The action, printed.
        action: String,
        /// The state, printed.
        state: String,
    },
    /// Law: the numbering of actions goes both ways.
    #[error("action {index} has the index {back} when asked for it")]
    Numbering {
        /// The index an action was asked for by.
        index: usize,
        /// The index the action says it has.
        back: usize,
    },
}
