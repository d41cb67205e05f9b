//! Returns: reduces the numbers of an episode to one, and spreads its slope back over them.
use mdp::{Channels, Steps};

use crate::{Needs, ObjectiveError, Scores};

/// The reward of a decision, before `beta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecisionReward {
    /// log pi(a|s) - log pi_ref(a|s), the paper's Eq. 11.
    #[default]
    LogRatio,
    /// log pi(a|s), without a reference.
    LogProb,
}

/// The reduction of an episode's rewards to its return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// The weighted sum: nats per episode.
    #[default]
    Sum,
    /// The weighted sum divided by the number of decisions: nats per decision.
    PerToken,
}

impl Reduction {
    fn scale(self, n_decisions: usize) -> f64 {
        match self {
            Self::Sum => 1.0,
            Self::PerToken => 1.0 / n_decisions.max(1) as f64,
        }
    }
}

/// The definition of an episode's return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReturnSpec {
    /// The reward of a decision.
    pub reward: DecisionReward,
    /// The reduction over decisions.
    pub reduction: Reduction,
}

impl ReturnSpec {
    /// The inputs that the returns need.
    pub(crate) fn needs(self) -> Needs {
        Needs { reference: self.reward == DecisionReward::LogRatio, ..Needs::default() }
    }

    /// The return of every episode.
    pub(crate) fn returns(self, scores: Scores<'_>) -> Result<Vec<f64>, ObjectiveError> {
        let reference = match self.reward {
            DecisionReward::LogRatio => Some(scores.reference.ok_or(ObjectiveError::Missing { what: REFERENCE })?),
            DecisionReward::LogProb => None,
        };
        let policy = &scores.policy.log_probs;
        Ok((0..policy.len())
            .map(|i| {
                let (row, weights) = (policy.row(i), scores.weights.row(i));
                let sum: f64 = match reference {
                    Some(steps) => {
                        row.iter().zip(steps.row(i)).zip(weights).map(|((policy, other), w)| w * (policy - other)).sum()
                    }
                    None => row.iter().zip(weights).map(|(policy, w)| w * policy).sum(),
                };
                sum * self.reduction.scale(row.len())
            })
            .collect())
    }

    /// The returns to report: log-ratios are summed even if the loss averages them, as in TRL's logs.
    pub(crate) fn reported(self) -> Self {
        match self.reward {
            DecisionReward::LogRatio => Self { reduction: Reduction::Sum, ..self },
            DecisionReward::LogProb => self,
        }
    }

    /// Spreads the slope of each return over its log-probabilities.
    pub(crate) fn spread(self, slopes: &[f64], weights: &Steps) -> Steps {
        let rows = weights.rows().zip(slopes).map(|(row, slope)| {
            let slope = slope * self.reduction.scale(row.len());
            row.iter().map(|w| w * slope).collect::<Vec<f64>>()
        });
        rows.collect()
    }
}

const REFERENCE: &str = "reference's log-probability";

/// Checks that the needed inputs are present, equal in shape, and finite.
pub(crate) fn check(scores: Scores<'_>, needs: Needs) -> Result<(), ObjectiveError> {
    let log_probs = &scores.policy.log_probs;
    let needed = |what: &'static str, is_needed: bool, steps: Option<&Steps>| match steps {
        _ if !is_needed => Ok(()),
        None => Err(ObjectiveError::Missing { what }),
        Some(steps) if !steps.same_shape(log_probs) => Err(ObjectiveError::Shape { what }),
        Some(steps) => finite(what, steps),
    };
    needed("policy's log-probability", true, Some(log_probs))?;
    needed(REFERENCE, needs.reference, scores.reference)?;
    // The metrics show this channel wherever it comes.
    let divergence = scores.policy.divergence.as_ref();
    needed("policy's divergence", needs.divergence || divergence.is_some(), divergence)?;
    needed("weight", true, Some(scores.weights))
}

fn finite(what: &'static str, steps: &Steps) -> Result<(), ObjectiveError> {
    for (episode, row) in steps.rows().enumerate() {
        if let Some(decision) = row.iter().position(|value| !value.is_finite()) {
            return Err(ObjectiveError::NotFinite { what, episode, decision, value: row[decision] });
        }
    }
    Ok(())
}

/// The sum of each row: log-probabilities of episodes.
pub(crate) fn totals(steps: &Steps) -> Vec<f64> {
    steps.rows().map(|row| row.iter().sum()).collect()
}

/// The weighted sum of each row.
pub(crate) fn weighted_totals(steps: &Steps, weights: &Steps) -> Vec<f64> {
    steps.rows().zip(weights.rows()).map(|(row, weights)| row.iter().zip(weights).map(|(x, w)| w * x).sum()).collect()
}

/// Slopes of log-probabilities only.
pub(crate) fn on_log_probs(log_probs: Steps) -> Channels {
    log_probs.into()
}
