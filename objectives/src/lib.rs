//! Preference losses as functions of numbers.
//!
//! An [`Objective`] turns the numbers of a policy and a reference ([`Scores`]) and some feedback into a loss and its
//! slope with respect to every one of the policy's numbers. It has never heard of a tensor or a model.
use std::collections::BTreeMap;

use mdp::{Channels, Steps};

/// Everything an objective may look at, one row per episode.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// The policy's numbers.
    pub policy: &'a Channels,
    /// The reference's log-probabilities, where the objective asks for them.
    pub reference: Option<&'a Steps>,
    /// How much each decision counts in a return.
    pub weights: &'a Steps,
}

/// A loss and where it comes from.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// The mean over the feedback.
    pub loss: f64,
    /// d(loss)/d(number) for every number of the policy (same shapes as `Scores::policy`, entropy left out).
    pub slopes: Channels,
    /// Means over the feedback by name, such as `rewards/chosen`; the names are the field's.
    pub metrics: BTreeMap<&'static str, f64>,
}

/// What an objective wants computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The reference's log-probabilities.
    pub reference: bool,
    /// The policy's divergence channel (KL to the reference in every state).
    pub divergence: bool,
    /// The loss couples the examples of a batch, so all must be scored before any slope is known (KTO's baseline).
    pub whole_batch: bool,
}

/// A loss of the numbers.
///
/// # Laws
/// The loss is the mean over the feedback: unless [`Needs::whole_batch`] is set, evaluating parts and averaging by
/// count gives the whole. `slopes` is the exact gradient.
pub trait Objective {
    /// What is known of some episodes: a comparison, a ranking, a thumb up.
    type Feedback;

    /// What must be computed for it.
    fn needs(&self) -> Needs;

    /// The loss of `feedback`, whose indices are rows of `scores`.
    ///
    /// # Errors
    /// A number that is not finite (which episode, which decision), a missing channel, an index out of range.
    fn evaluate(&self, feedback: &[Self::Feedback], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError>;
}

/// Two episodes with the same start, and how likely the first is the better one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// An episode.
    pub first: usize,
    /// Another.
    pub second: usize,
    /// P(first is better): 1 for a clean label, 0.5 for a tie.
    pub preference: f64,
}

/// Why a loss could not be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
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
}
