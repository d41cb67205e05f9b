/// An error of an objective's settings or of its numbers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
    /// A setting is out of range.
    #[error("`{field}` of {objective} is {value}, but must be {allowed}")]
    Setting {
        /// Name of the objective.
        objective: &'static str,
        /// Name of the setting.
        field: &'static str,
        /// The given value.
        value: f64,
        /// The allowed values.
        allowed: &'static str,
    },
    /// A weighted sum without terms.
    #[error("a weighted sum needs at least one objective")]
    NoTerms,
    /// A number is NaN or infinite.
    #[error("the {what} of decision {decision} of episode {episode} is {value}, not a finite number")]
    NotFinite {
        /// Name of the number.
        what: &'static str,
        /// Row.
        episode: usize,
        /// Column.
        decision: usize,
        /// The number.
        value: f64,
    },
    /// The numbers are finite, but their loss overflows.
    #[error("the loss of feedback {feedback} is {value}, not a finite number")]
    LossNotFinite {
        /// Index of the feedback, from 0.
        feedback: usize,
        /// The loss.
        value: f64,
    },
    /// The objective needs a channel that was not computed.
    #[error("the {what} is needed and was not given")]
    Missing {
        /// Name of the channel.
        what: &'static str,
    },
    /// Numbers of the same decisions have different shapes.
    #[error("the {what} has other episodes or decisions than the policy's log-probabilities")]
    Shape {
        /// Name of the numbers.
        what: &'static str,
    },
    /// Feedback names an episode that does not exist.
    #[error("feedback {feedback} is about episode {episode}, but there are {episodes}")]
    NoSuchEpisode {
        /// Index of the feedback, from 0.
        feedback: usize,
        /// The episode it names.
        episode: usize,
        /// Number of episodes.
        episodes: usize,
    },
    /// A comparison's preference is not a probability.
    #[error("the preference of feedback {feedback} is {value}, but must be from 0 to 1")]
    Preference {
        /// Index of the feedback, from 0.
        feedback: usize,
        /// Its preference.
        value: f64,
    },
    /// A comparison's weight is negative, or its weight or margin is no finite number.
    #[error(
        "the weight of feedback {feedback} is {weight} and its margin {margin}: both must be finite, and no weight below 0"
    )]
    Weight {
        /// Index of the feedback, from 0.
        feedback: usize,
        /// Its weight.
        weight: f64,
        /// Its margin.
        margin: f64,
    },
    /// A comparison has a margin that the loss has no place for.
    #[error(
        "feedback {feedback} has a margin of {margin}, and the loss has no place for one: `objective.name` dpo, \
         dpo-norm, cdpo, robust, hinge, discopop, simpo and tdpo have; or drop the column"
    )]
    Margin {
        /// Index of the feedback, from 0.
        feedback: usize,
        /// Its margin.
        margin: f64,
    },
    /// A comparison is soft, weighed or has a margin, and the loss takes certain ones only.
    #[error(
        "feedback {feedback} has a preference of {preference}, a weight of {weight} and a margin of {margin}, and the loss \
         sorts a whole batch: it takes certain preferences of weight 1 (`objective.name` dpo takes others)"
    )]
    NotCertain {
        /// Index of the feedback, from 0.
        feedback: usize,
        /// Its preference.
        preference: f64,
        /// Its weight.
        weight: f64,
        /// Its margin.
        margin: f64,
    },
    /// A ranking has fewer than two episodes or names one twice.
    #[error("the ranking of feedback {feedback} must name two or more episodes, each once, and names {best_first:?}")]
    Ranking {
        /// Index of the feedback, from 0.
        feedback: usize,
        /// The ranking.
        best_first: Vec<usize>,
    },
    /// The mean over an empty batch of feedback.
    #[error("there is no feedback to learn from")]
    NoFeedback,
    /// An objective breaks a law (only [`laws`](crate::laws) says so).
    #[error("{law}: {detail}")]
    Law {
        /// The law.
        law: &'static str,
        /// The difference found.
        detail: String,
    },
}
