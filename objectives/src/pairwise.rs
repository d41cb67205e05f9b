use std::collections::BTreeMap;

use mdp::Channels;

use crate::returns::{check, on_log_probs, totals, weighted_totals};
use crate::verdict::{check_comparisons, check_loss};
use crate::{Comparison, Evaluation, Needs, Objective, ObjectiveError, Reading, Reduction, Reward, Scores, Verdict};

/// The loss of a pair and its slopes with respect to the two returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The loss.
    pub loss: f64,
    /// d(loss)/d(chosen return).
    pub chosen: f64,
    /// d(loss)/d(rejected return).
    pub rejected: f64,
}

impl Point {
    /// A loss that sees only the margin, the chosen return less the rejected one; `slope` is d(loss)/d(margin).
    pub fn of_margin(loss: f64, slope: f64) -> Self {
        Self { loss, chosen: slope, rejected: -slope }
    }
}

/// A loss of two returns. A new pairwise loss is a new value of this trait.
///
/// # Laws
/// `chosen` and `rejected` of [`at`](Link::at) are the exact slopes of its `loss`; all are finite for finite returns.
///
/// # Examples
/// ```
/// use objectives::{Comparison, Link, Objective, Pairwise, Point, Scores};
///
/// /// The perceptron's loss: only wrong pairs count.
/// struct Perceptron;
/// impl Link for Perceptron {
///     fn at(&self, chosen: f64, rejected: f64) -> Point {
///         let margin = chosen - rejected;
///         if margin < 0.0 { Point::of_margin(-margin, -1.0) } else { Point::of_margin(0.0, 0.0) }
///     }
/// }
///
/// let policy = mdp::Channels::from(mdp::Steps::from_iter([[-3.0, -1.0], [-2.0, -1.5]]));
/// let reference = policy.log_probs.filled(-1.0);
/// let weights = policy.log_probs.filled(1.0);
/// let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
/// let evaluation = Pairwise::new(Perceptron).evaluate(&[Comparison::new(0, 1)], scores)?;
/// assert_eq!(evaluation.loss, 0.5);
/// assert_eq!(evaluation.slopes.log_probs.row(1), [1.0, 1.0]);
/// # Ok::<(), objectives::ObjectiveError>(())
/// ```
pub trait Link {
    /// The loss and its slopes.
    fn at(&self, chosen: f64, rejected: f64) -> Point;

    /// Turns a return into a reward, for the metrics.
    fn beta(&self) -> f64 {
        1.0
    }

    /// How the loss was meant to read episodes.
    fn reading(&self) -> Reading {
        Reading::default()
    }

    /// Metrics of its own; their means over the feedback are reported.
    fn metrics(&self, _chosen: f64, _rejected: f64) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn at(&self, chosen: f64, rejected: f64) -> Point {
        (**self).at(chosen, rejected)
    }

    fn beta(&self) -> f64 {
        (**self).beta()
    }

    fn reading(&self) -> Reading {
        (**self).reading()
    }

    fn metrics(&self, chosen: f64, rejected: f64) -> Vec<(&'static str, f64)> {
        (**self).metrics(chosen, rejected)
    }
}

/// A loss of comparisons: the mean over them of p l(first, second) + (1 - p) l(second, first), where p is the
/// preference.
///
/// It reports the metrics of [`Verdict::metrics`], `logps/chosen` and `logps/rejected` (always nats per episode),
/// `divergence/chosen` and `divergence/rejected` where the policy gives that channel, and the link's own.
///
/// # Examples
/// ```
/// use objectives::{Ipo, Logistic, Pairwise, Reduction};
///
/// let dpo = Pairwise::new(Logistic::new(0.1)?);
/// let ipo_as_in_trl = Pairwise::new(Ipo::new(0.1)?).with_reduction(Reduction::PerToken);
/// # Ok::<(), objectives::ObjectiveError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairwise<L> {
    link: L,
    reading: Reading,
}

impl<L: Link> Pairwise<L> {
    /// The loss as its authors read episodes.
    pub fn new(link: L) -> Self {
        let reading = link.reading();
        Self { link, reading }
    }

    /// The same, with decisions added up in another way.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reading.reduction = reduction;
        self
    }

    /// The same, with or without a reference.
    #[must_use]
    pub fn with_reward(mut self, reward: Reward) -> Self {
        self.reading.reward = reward;
        self
    }
}

impl<L: Link> Objective for Pairwise<L> {
    type Feedback = Comparison;

    fn needs(&self) -> Needs {
        self.reading.needs()
    }

    fn evaluate(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let returns = self.reading.returns(scores)?;
        let mut slopes = vec![0.0; returns.len()];
        let loss = mean_loss(feedback, returns.len(), |chosen, rejected, share| {
            let point = self.link.at(returns[chosen], returns[rejected]);
            slopes[chosen] += share * point.chosen;
            slopes[rejected] += share * point.rejected;
            point.loss
        })?;
        let own = |c: &Comparison| self.link.metrics(returns[c.chosen()], returns[c.rejected()]);
        let rewards: Vec<f64> = self.reading.reported().returns(scores)?.iter().map(|r| self.link.beta() * r).collect();
        let (verdicts, metrics) = describe(feedback, scores, &rewards, own);
        let slopes = on_log_probs(self.reading.spread(&slopes, scores.weights));
        Ok(Evaluation { loss, slopes, metrics, verdicts })
    }
}

/// The mean over the feedback of both orders' losses by preference.
///
/// `at(chosen, rejected, share)` gives the loss of one order and adds `share` times its slopes. An order that cannot
/// be right is not asked for.
pub(crate) fn mean_loss(
    feedback: &[Comparison],
    n_episodes: usize,
    mut at: impl FnMut(usize, usize, f64) -> f64,
) -> Result<f64, ObjectiveError> {
    check_comparisons(feedback, n_episodes)?;
    let share = 1.0 / feedback.len() as f64;
    let mut total = 0.0;
    for (i, comparison) in feedback.iter().enumerate() {
        let Comparison { first, second, preference } = *comparison;
        for (chosen, rejected, likely) in [(first, second, preference), (second, first, 1.0 - preference)] {
            if likely > 0.0 {
                total += check_loss(i, likely * at(chosen, rejected, likely * share))?;
            }
        }
    }
    Ok(total * share)
}

/// The verdict on every comparison, and all metrics.
pub(crate) fn describe(
    feedback: &[Comparison],
    scores: Scores<'_>,
    rewards: &[f64],
    own: impl Fn(&Comparison) -> Vec<(&'static str, f64)>,
) -> (Vec<Verdict>, BTreeMap<&'static str, f64>) {
    let Channels { log_probs, divergence, .. } = scores.policy;
    let log_probs = totals(log_probs);
    let divergence = divergence.as_ref().map(|steps| weighted_totals(steps, scores.weights));
    let mut means: BTreeMap<&'static str, f64> = BTreeMap::new();
    let mut add = |name, value: f64| *means.entry(name).or_default() += value / feedback.len() as f64;
    for comparison in feedback {
        let (chosen, rejected) = (comparison.chosen(), comparison.rejected());
        add("logps/chosen", log_probs[chosen]);
        add("logps/rejected", log_probs[rejected]);
        if let Some(divergence) = &divergence {
            add("divergence/chosen", divergence[chosen]);
            add("divergence/rejected", divergence[rejected]);
        }
        for (name, value) in own(comparison) {
            add(name, value);
        }
    }
    let verdicts: Vec<Verdict> =
        feedback.iter().map(|c| Verdict::of_pair(rewards[c.chosen()], rewards[c.rejected()])).collect();
    means.extend(Verdict::metrics(&verdicts));
    (verdicts, means)
}
