/// Why an objective could not be made or a loss not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
    /// A setting makes no sense.
    #[error("`{field}` of {objective} is {value}, but must be {allowed}")]
    Setting {
        /// Whose setting.
        objective: &'static str,
        /// Its name.
        field: &'static str,
        /// What it was to be.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// A weighted sum of nothing.
    #[error("a weighted sum needs at least one objective")]
    NoTerms,
    /// A number is NaN or infinite.
    #[error("the {what} of decision {decision} of episode {episode} is {value}, not a finite number")]
    NotFinite {
        /// Whose number.
        what: &'static str,
        /// Row.
        episode: usize,
        /// Column.
        decision: usize,
        /// The number.
        value: f64,
    },
    /// The numbers are finite, but too large for their loss to be.
    #[error("the loss of feedback {feedback} is {value}, not a finite number")]
    LossNotFinite {
        /// Which feedback, counted from 0.
        feedback: usize,
        /// The loss.
        value: f64,
    },
    /// The objective needs numbers that were not computed.
    #[error("the {what} is needed and was not given")]
    Missing {
        /// Which numbers.
        what: &'static str,
    },
    /// Numbers of the same decisions come in different shapes.
    #[error("the {what} has other episodes or decisions than the policy's log-probabilities")]
    Shape {
        /// Which numbers.
        what: &'static str,
    },
    /// Feedback names an episode that is not there.
    #[error("feedback {feedback} is about episode {episode}, but there are {episodes}")]
    NoSuchEpisode {
        /// Which feedback, counted from 0.
        feedback: usize,
        /// The episode it names.
        episode: usize,
        /// How many there are.
        episodes: usize,
    },
    /// A comparison's preference is not a probability.
    #[error("the preference of feedback {feedback} is {value}, but must be from 0 to 1")]
    Preference {
        /// Which feedback, counted from 0.
        feedback: usize,
        /// Its preference.
        value: f64,
    },
    /// A ranking has fewer than two episodes or names one twice.
    #[error("the ranking of feedback {feedback} must name two or more episodes, each once, and names {best_first:?}")]
    Ranking {
        /// Which feedback, counted from 0.
        feedback: usize,
        /// What it names.
        best_first: Vec<usize>,
    },
    /// The mean over no feedback was asked for.
    #[error("there is no feedback to learn from")]
    NoFeedback,
    /// An objective breaks a law (only [`laws`](crate::laws) says so).
    #[error("{law}: {detail}")]
    Law {
        /// The law.
        law: &'static str,
        /// What was found.
        detail: String,
    },
}
