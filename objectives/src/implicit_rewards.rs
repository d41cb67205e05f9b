//! Implicit rewards of feedback, and the usual metrics of them.
use std::collections::BTreeMap;

use crate::{Comparison, ObjectiveError};

/// The implicit rewards of one feedback item, and their accuracy.
///
/// A comparison has both sides, a label or a demonstration one; for a ranking `chosen` is the best and `rejected` the
/// mean of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ImplicitRewards {
    /// The reward of the better, desirable or demonstrated side: beta times its log-ratio, or beta times its
    /// log-probability without a reference.
    pub chosen: Option<f64>,
    /// The reward of the worse or undesirable side.
    pub rejected: Option<f64>,
    /// 1 if the better side's reward is strictly higher, else 0 (ties count as wrong). For a ranking, the share of its
    /// pairs in the right order; for a label, 1 if the reward is on the right side of the baseline.
    pub accuracy: Option<f64>,
}

impl ImplicitRewards {
    /// The implicit rewards of a pair.
    pub fn of_pair(chosen: f64, rejected: f64) -> Self {
        Self {
            chosen: Some(chosen),
            rejected: Some(rejected),
            accuracy: Some(if chosen > rejected { 1.0 } else { 0.0 }),
        }
    }

    /// `rewards/chosen`, `rewards/rejected`, `rewards/margins` (their difference) and `rewards/accuracies`: means over
    /// the items that have them, omitted if none has.
    ///
    /// Use it to merge the items of several batches; means of batch means are wrong where sides are missing.
    pub fn metrics(implicit_rewards: &[Self]) -> BTreeMap<&'static str, f64> {
        let mean = |side: fn(&Self) -> Option<f64>| {
            let values: Vec<f64> = implicit_rewards.iter().filter_map(side).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let (chosen, rejected) =
            (mean(|implicit_rewards| implicit_rewards.chosen), mean(|implicit_rewards| implicit_rewards.rejected));
        [
            ("rewards/chosen", chosen),
            ("rewards/rejected", rejected),
            ("rewards/margins", chosen.zip(rejected).map(|(chosen, rejected)| chosen - rejected)),
            ("rewards/accuracies", mean(|implicit_rewards| implicit_rewards.accuracy)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Checks the indices and probabilities of comparisons.
pub(crate) fn check_comparisons(feedback: &[Comparison], episodes: usize) -> Result<(), ObjectiveError> {
    for (i, comparison) in feedback.iter().enumerate() {
        check_episode(i, comparison.first, episodes)?;
        check_episode(i, comparison.second, episodes)?;
        let value = comparison.preference;
        if !(0.0..=1.0).contains(&value) {
            return Err(ObjectiveError::Preference { feedback: i, value });
        }
        let Comparison { weight, margin, .. } = *comparison;
        if !(weight >= 0.0 && weight.is_finite() && margin.is_finite()) {
            return Err(ObjectiveError::Weight { feedback: i, weight, margin });
        }
    }
    check_some(feedback)
}

/// Refuses margins, for losses that have no place for them.
pub(crate) fn check_no_margins(feedback: &[Comparison]) -> Result<(), ObjectiveError> {
    match feedback.iter().position(|comparison| comparison.margin != 0.0) {
        Some(at) => Err(ObjectiveError::Margin { feedback: at, margin: feedback[at].margin }),
        None => Ok(()),
    }
}

pub(crate) fn check_episode(feedback: usize, episode: usize, episodes: usize) -> Result<(), ObjectiveError> {
    if episode < episodes { Ok(()) } else { Err(ObjectiveError::NoSuchEpisode { feedback, episode, episodes }) }
}

pub(crate) fn check_some<F>(feedback: &[F]) -> Result<(), ObjectiveError> {
    if feedback.is_empty() { Err(ObjectiveError::NoFeedback) } else { Ok(()) }
}

pub(crate) fn check_loss(feedback: usize, value: f64) -> Result<f64, ObjectiveError> {
    if value.is_finite() { Ok(value) } else { Err(ObjectiveError::LossNotFinite { feedback, value }) }
}
