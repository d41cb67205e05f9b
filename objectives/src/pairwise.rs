use std::collections::BTreeMap;

use mdp::Channels;

use crate::implicit_rewards::{check_comparisons, check_loss, check_no_margins};
use crate::returns::{SideSpec, check, on_log_probs, totals, weighted_totals};
use crate::settings::Check;
use crate::{
    Comparison, DecisionReward, Divergence, Evaluation, ImplicitRewards, Needs, Objective, ObjectiveError, Reduction,
    ReturnSpec, Scores,
};

/// The loss of a pair and its derivatives with respect to the two returns.
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
    /// A loss of the margin, the chosen minus the rejected return; `slope` is d(loss)/d(margin).
    pub fn of_margin(loss: f64, slope: f64) -> Self {
        Self { loss, chosen: slope, rejected: -slope }
    }
}

/// A pairwise loss as a function of two returns. A new pairwise loss is a new implementation of this trait.
///
/// # Laws
/// `chosen` and `rejected` of [`at`](Link::at) are the exact derivatives of its `loss`; all are finite for finite
/// returns.
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
    /// The loss and its derivatives.
    fn at(&self, chosen: f64, rejected: f64) -> Point;

    /// The factor from return to reward, for the metrics.
    fn beta(&self) -> f64 {
        1.0
    }

    /// Whether the loss is one of beta times the difference of the returns, from which a comparison's margin is subtracted
    /// first.
    fn takes_margins(&self) -> bool {
        false
    }

    /// The returns that the loss is defined on.
    fn return_spec(&self) -> ReturnSpec {
        ReturnSpec::default()
    }

    /// Additional metrics of the loss; their means over the feedback are reported.
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

    fn takes_margins(&self) -> bool {
        (**self).takes_margins()
    }

    fn return_spec(&self) -> ReturnSpec {
        (**self).return_spec()
    }

    fn metrics(&self, chosen: f64, rejected: f64) -> Vec<(&'static str, f64)> {
        (**self).metrics(chosen, rejected)
    }
}

/// A loss of comparisons: the mean of p l(first, second) + (1 - p) l(second, first), where p is the preference.
///
/// It reports the metrics of [`ImplicitRewards::metrics`], `logps/chosen` and `logps/rejected` (always nats per
/// episode), `divergence/chosen` and `divergence/rejected` if the policy gives that channel, and the link's own.
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
    sides: SideSpec,
}

impl<L: Link> Pairwise<L> {
    /// The loss with its paper's returns.
    pub fn new(link: L) -> Self {
        let sides = SideSpec { spec: link.return_spec(), divergence: Divergence::default(), tail: 1.0 };
        Self { link, sides }
    }

    /// The same returns under another link.
    pub fn with_link<K: Link>(self, link: K) -> Pairwise<K> {
        Pairwise { link, sides: self.sides }
    }

    /// Penalises another divergence from the reference than the reverse KL: returns are the divergence's scores of
    /// log-ratios. Reported rewards remain log-ratios.
    #[must_use]
    pub fn with_divergence(mut self, divergence: Divergence) -> Self {
        self.sides.divergence = divergence;
        self
    }

    /// Weighs the decisions behind the length of a pair's shorter side by `tail`, from 0 to 1, so that length matters less:
    /// LD-DPO (Liu et al. 2024, arXiv:2409.06411). Reported rewards are weighed too, as in TRL.
    pub fn with_tail_weight(mut self, tail: f64) -> Result<Self, ObjectiveError> {
        self.sides.tail =
            Check("ld-dpo").that("tail_weight", tail, (0.0..=1.0).contains(&tail), "a number from 0 to 1")?;
        Ok(self)
    }

    /// Changes the reduction over decisions.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.sides.spec.reduction = reduction;
        self
    }

    /// Selects rewards with or without a reference.
    #[must_use]
    pub fn with_reward(mut self, reward: DecisionReward) -> Self {
        self.sides.spec.reward = reward;
        self
    }
}

impl<L: Link> Objective for Pairwise<L> {
    type Feedback = Comparison;

    fn takes_margins(&self) -> bool {
        self.link.takes_margins()
    }

    fn needs(&self) -> Needs {
        self.sides.spec.needs()
    }

    fn evaluate(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let n = scores.policy.log_probs.len();
        let mut sides = self.sides.sides(scores)?;
        let mut slopes = vec![0.0; n];
        if !self.link.takes_margins() {
            check_no_margins(feedback)?;
        }
        let loss = mean_loss(feedback, n, |Order { chosen, rejected, share, margin }| {
            let (better, worse) = (sides.of(chosen, rejected), sides.of(rejected, chosen));
            let point = self.link.at(better.value - margin / self.link.beta(), worse.value);
            sides.add(&mut slopes, (chosen, rejected), share * point.chosen * better.slope);
            sides.add(&mut slopes, (rejected, chosen), share * point.rejected * worse.slope);
            point.loss
        })?;
        let own = |c: &Comparison| {
            let (chosen, rejected) = (c.chosen(), c.rejected());
            self.link.metrics(sides.of(chosen, rejected).value, sides.of(rejected, chosen).value)
        };
        let reward = |episode, other| self.link.beta() * sides.reported(episode, other);
        let (implicit_rewards, metrics) = describe(feedback, scores, reward, own);
        Ok(Evaluation { loss, slopes: on_log_probs(sides.slopes(&slopes)), metrics, implicit_rewards })
    }
}

/// One order of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// The row taken as the better one.
    pub(crate) chosen: usize,
    /// The other row.
    pub(crate) rejected: usize,
    /// Its part of the mean.
    pub(crate) share: f64,
    /// The margin by which the chosen row's reward should be higher.
    pub(crate) margin: f64,
}

/// The mean over the feedback of both orders' losses, weighted by preference.
///
/// `at` returns the loss of one order and accumulates `share` times its slopes. An order of probability 0 is skipped, and
/// so is a comparison of weight 0. The mean is over all comparisons, whatever their weights.
pub(crate) fn mean_loss(
    feedback: &[Comparison],
    n_episodes: usize,
    mut at: impl FnMut(Order) -> f64,
) -> Result<f64, ObjectiveError> {
    check_comparisons(feedback, n_episodes)?;
    let share = 1.0 / feedback.len() as f64;
    let mut total = 0.0;
    for (i, comparison) in feedback.iter().enumerate() {
        let Comparison { first, second, preference, weight, margin } = *comparison;
        // The other order's loss is that of the turned difference.
        for (chosen, rejected, likely, margin) in
            [(first, second, preference * weight, margin), (second, first, (1.0 - preference) * weight, -margin)]
        {
            if likely > 0.0 {
                let order = Order { chosen, rejected, share: likely * share, margin };
                total += check_loss(i, likely * at(order))?;
            }
        }
    }
    Ok(total * share)
}

/// The implicit rewards of every comparison, and all metrics; `reward` is that of an episode beside another.
pub(crate) fn describe(
    feedback: &[Comparison],
    scores: Scores<'_>,
    reward: impl Fn(usize, usize) -> f64,
    own: impl Fn(&Comparison) -> Vec<(&'static str, f64)>,
) -> (Vec<ImplicitRewards>, BTreeMap<&'static str, f64>) {
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
    let of_pair = |(chosen, rejected)| ImplicitRewards::of_pair(reward(chosen, rejected), reward(rejected, chosen));
    let implicit_rewards: Vec<ImplicitRewards> =
        feedback.iter().map(|c| (c.chosen(), c.rejected())).map(of_pair).collect();
    means.extend(ImplicitRewards::metrics(&implicit_rewards));
    (implicit_rewards, means)
}
