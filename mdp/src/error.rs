/// An error of a problem, a schedule or a table, or a broken law.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MdpError {
    /// A row of a transition table has another length than the first.
    #[error("place {place} lists {got} actions, but place 0 lists {expected}")]
    Ragged {
        /// The row.
        place: usize,
        /// Number of actions of the first row.
        expected: usize,
        /// Number of actions of this row.
        got: usize,
    },
    /// A transition leads to a place that does not exist.
    #[error("action {action} leads from place {place} to place {next}, but there are {n_places} places")]
    UnknownPlace {
        /// The place it starts at.
        place: usize,
        /// Its action.
        action: usize,
        /// The place it leads to.
        next: usize,
        /// Number of places.
        n_places: usize,
    },
    /// There are more states or episodes than the caller's limit.
    #[error("there are more than {limit} {what}")]
    TooMany {
        /// The counted items.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A number that must be finite is not.
    #[error("the {what} of action {action} in {state} is {value}, not a finite number")]
    NotFinite {
        /// Name of the number.
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
    /// Beta, the strength of the KL penalty, is not a positive number.
    #[error("beta is {beta}, but it must be positive and finite")]
    Beta {
        /// The given value.
        beta: f64,
    },
    /// A table has the size of another problem.
    #[error("the {what} table has {got} numbers, but the problem needs {expected}")]
    TableSize {
        /// Name of the table.
        what: &'static str,
        /// Number of entries that the problem needs.
        expected: usize,
        /// Number of entries in the table.
        got: usize,
    },
    /// A number of a noise schedule or timestep selection is out of range.
    #[error("noise schedule: {what} is {value}, but it must be {expected}")]
    Schedule {
        /// Name of the number.
        what: String,
        /// The given value.
        value: f64,
        /// The allowed values.
        expected: &'static str,
    },
    /// Law: functions of a problem are pure.
    #[error("{function} gave two different answers for {state}")]
    NotPure {
        /// The function.
        function: &'static str,
        /// The state, printed.
        state: String,
    },
    /// Law: every episode ends.
    #[error("an episode had not ended after {limit} decisions")]
    Endless {
        /// Number of decisions after which the check stopped.
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
    /// Law: a world does not reply to its own reply.
    #[error("the world replies to its own reply in {state}")]
    RepliesToItself {
        /// The state after the first reply, printed.
        state: String,
    },
    /// Law: `action` and `action_index` are inverse to each other.
    #[error("action {index} has the index {back} when asked for it")]
    Numbering {
        /// The index passed to `action`.
        index: usize,
        /// The index that `action_index` returned.
        back: usize,
    },
}
