//! Returns: reduces the numbers of an episode to one, and spreads its slope back over them.
use mdp::{Channels, Steps};

use crate::{Divergence, Needs, ObjectiveError, Scores};

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
        let reference = self.reference(scores)?;
        let sum = |i| self.reduction.scale(scores.weights.row(i).len()) * total(scores, reference, i, &|_| 1.0);
        Ok((0..scores.policy.log_probs.len()).map(sum).collect())
    }

    /// The reference's numbers, if the returns read them.
    fn reference(self, scores: Scores<'_>) -> Result<Option<&Steps>, ObjectiveError> {
        match self.reward {
            DecisionReward::LogRatio => scores.reference.ok_or(ObjectiveError::Missing { what: REFERENCE }).map(Some),
            DecisionReward::LogProb => Ok(None),
        }
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

/// The returns of episodes as sides of a pair: what both sides have decides them where decisions behind the length of the
/// shorter side weigh less, and a divergence turns log-ratios into scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SideSpec {
    pub(crate) spec: ReturnSpec,
    pub(crate) divergence: Divergence,
    /// The weight of decisions behind the length of the shorter side.
    pub(crate) tail: f64,
}

/// The return of a side, and its derivative with respect to the weighted sum of its decisions' log-probabilities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SideReturn {
    pub(crate) value: f64,
    pub(crate) slope: f64,
}

impl SideSpec {
    /// The returns of the sides of pairs.
    pub(crate) fn sides(self, scores: Scores<'_>) -> Result<Sides<'_>, ObjectiveError> {
        let reference = self.spec.reference(scores)?;
        Ok(Sides { spec: self, scores, reference, tails: (self.tail != 1.0).then(|| scores.weights.filled(0.0)) })
    }
}

/// The returns of the sides of pairs, and slopes on them.
pub(crate) struct Sides<'a> {
    spec: SideSpec,
    scores: Scores<'a>,
    reference: Option<&'a Steps>,
    /// The slopes of log-probabilities, where they differ within an episode.
    tails: Option<Steps>,
}

impl Sides<'_> {
    fn len(&self, episode: usize) -> usize {
        self.scores.weights.row(episode).len()
    }

    /// The weighted sum of an episode's rewards, beside another.
    fn sum(&self, episode: usize, other: usize) -> f64 {
        let (shared, tail) = (self.len(episode).min(self.len(other)), self.spec.tail);
        total(self.scores, self.reference, episode, &|decision| if decision < shared { 1.0 } else { tail })
    }

    /// The return of an episode as a side, beside another.
    pub(crate) fn of(&self, episode: usize, other: usize) -> SideReturn {
        let (value, slope) = self.spec.divergence.score(self.sum(episode, other));
        let scale = self.spec.spec.reduction.scale(self.len(episode));
        SideReturn { value: value * scale, slope }
    }

    /// The return to report: log-ratios are summed even if the loss averages or transforms them, as in TRL's logs.
    pub(crate) fn reported(&self, episode: usize, other: usize) -> f64 {
        self.sum(episode, other) * self.spec.spec.reported().reduction.scale(self.len(episode))
    }

    /// Adds the slope of the return of `episode` beside `other`, to `slopes` of whole episodes where its decisions weigh alike.
    pub(crate) fn add(&mut self, slopes: &mut [f64], (episode, other): (usize, usize), slope: f64) {
        let shared = self.len(episode).min(self.len(other));
        let scale = self.spec.spec.reduction.scale(self.len(episode));
        let Some(tails) = &mut self.tails else {
            slopes[episode] += slope;
            return;
        };
        let weights = self.scores.weights.row(episode);
        for (decision, (to, weight)) in tails.row_mut(episode).iter_mut().zip(weights).enumerate() {
            let part = if decision < shared { 1.0 } else { self.spec.tail };
            *to += slope * scale * part * weight;
        }
    }

    /// The slopes of log-probabilities.
    pub(crate) fn slopes(self, slopes: &[f64]) -> Steps {
        self.tails.unwrap_or_else(|| self.spec.spec.spread(slopes, self.scores.weights))
    }
}

/// The weighted sum of an episode's rewards, each times its part.
fn total(scores: Scores<'_>, reference: Option<&Steps>, episode: usize, part: &dyn Fn(usize) -> f64) -> f64 {
    let (row, weights) = (scores.policy.log_probs.row(episode), scores.weights.row(episode));
    let weighted = row.iter().zip(weights).enumerate();
    match reference.map(|steps| steps.row(episode)) {
        Some(other) => weighted.zip(other).map(|((i, (policy, w)), other)| part(i) * (w * (policy - other))).sum(),
        None => weighted.map(|(i, (policy, w))| part(i) * (w * policy)).sum(),
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
    needed("policy's collision log-probability", needs.collision, scores.policy.collision.as_ref())?;
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
