//! Preference losses as functions of numbers.
//!
//! An [`Objective`] turns the numbers of a policy and a reference ([`Scores`]) and feedback into a loss and its slope
//! with respect to every number of the policy. It knows no tensor and no model, so any policy of any problem can be
//! trained with any loss, and every formula is tested with plain floats.
//!
//! A pairwise loss is a value, a [`Link`]: a function of two returns. [`Pairwise`] computes the returns of the episodes
//! ([`ReturnSpec`]: log-ratio or log-probability, sum or mean per decision) and the rest. So a new loss is one
//! function; [`laws`] checks it.
//!
//! # The family
//! With c and r the chosen and the rejected return, D = c - r, and "per token, own" the mean of the policy's
//! log-probabilities without a reference:
//!
//! | name | made by | loss | reads |
//! |---|---|---|---|
//! | `dpo` | [`Logistic::new`]`(beta)` | -log sigma(beta D) | log-ratio, sum |
//! | `cdpo` | [`Logistic::smoothed`]`(beta, e)` | -(1-e) log sigma(beta D) - e log sigma(-beta D) | log-ratio, sum |
//! | `robust` | [`Robust::new`]`(beta, e)` | (-(1-e) log sigma(beta D) + e log sigma(-beta D)) / (1-2e) | log-ratio, sum |
//! | `ipo` | [`Ipo::new`]`(beta)` | (D - 1/(2 beta))^2 | log-ratio, sum; TRL: [`Reduction::PerToken`] |
//! | `hinge` | [`Hinge::new`]`(beta)` | max(0, 1 - beta D) | log-ratio, sum |
//! | `simpo` | [`Simpo::new`]`(beta, gamma)` | -log sigma(beta D - gamma) | per token, own |
//! | `orpo` | [`Orpo::new`]`(beta)` | -c - beta log sigma(log odds(c) - log odds(r)) | per token, own |
//! | `nca` | [`Nca::new`]`(beta)` | -log sigma(beta c) - 0.5 log sigma(-beta c) - 0.5 log sigma(-beta r) | log-ratio, sum |
//! | `bco` | [`Bco::new`]`(beta)` | -log sigma(beta c - delta) - log sigma(delta - beta r) | log-ratio, sum |
//! | `apo_zero` | [`ApoZero::new`]`(beta)` | 1 - sigma(beta c) + sigma(beta r) | log-ratio, sum |
//! | `apo_down` | [`ApoDown::new`]`(beta)` | sigma(beta c) + 1 - sigma(beta D) | log-ratio, sum |
//! | `exo` | [`Exo::new`]`(beta, e)` | KL of sigma(beta D) from 1-e | log-ratio, sum |
//! | `sppo` | [`Sppo::new`]`(beta)` | (c - 1/(2 beta))^2 + (r + 1/(2 beta))^2 | log-ratio, sum |
//! | `d3po` | [`Clamped::new`]`(beta, eps)` | -log sigma(beta (c' - r')), c' and r' within log(1 -+ eps) | log-ratio, sum |
//! | `discopop` | [`DiscoPop::new`]`(beta, tau)` | -(1-m) log sigma(beta D) + m e^(-beta D), m = sigma(beta D / tau) | log-ratio, sum |
//! | `dpop` | [`Dpop::new`]`(beta, lambda)` | -log sigma(beta (D - lambda max(0, -c))) | log-ratio, sum |
//! | `linear` | [`Linear::new`]`(beta, eta)` | -w D, w = 1/2 - 0.4 beta D within eta to 1-eta, held constant | log-ratio, sum |
//! | `cpl` | [`Cpl::new`]`(alpha, lambda)` | -log sigma(alpha (c - lambda r)) | own, sum; CPL-KL: [`DecisionReward::LogRatio`] |
//! | `sft` | [`ChosenLikelihood`] | -c | own, sum |
//!
//! These are links, arguments of [`Pairwise::new`], which can change their returns: means per decision
//! ([`Pairwise::with_reduction`]), another divergence than the reverse KL ([`Pairwise::with_divergence`]), less weight for what
//! one answer has beyond the length of the other ([`Pairwise::with_tail_weight`]). The others are objectives themselves:
//!
//! | name | made by | about |
//! |---|---|---|
//! | `tdpo` | [`Tdpo::v2`]`(beta, alpha)`, [`Tdpo::v1`]`(beta)` | [`Comparison`]; needs the divergence |
//! | `aot` | [`Aot::paired`]`(beta, e)`, [`Aot::unpaired`] | [`Comparison`]; needs the whole batch |
//! | `bco` with a moving delta | [`MovingBco::new`]`(beta)` | [`Comparison`]; needs the whole batch |
//! | `wpo` | [`Wpo::new`] | [`Comparison`]; weighs another loss |
//! | `sft` per token | [`TokenLikelihood`] | [`Comparison`]; needs the whole batch |
//! | `kto` | [`Kto::new`]`(beta)`, [`Kto::weighted`], [`Kto::with_batch_baseline`] | [`Label`]; needs the whole batch |
//! | `plackett_luce` | [`PlackettLuce::new`]`(beta)` | [`Ranking`] |
//! | `sft` | [`Sft`] | [`Demonstration`] |
//! | sums | [`WeightedSum::new`] | any one of them |
//!
//! # Examples
//! A policy that has not moved from its reference has the loss log 2, and learns half of beta in each direction.
//! ```
//! use mdp::{Channels, Steps};
//! use objectives::{Comparison, Logistic, Objective, Pairwise, Scores};
//!
//! let policy = Channels::from(Steps::from_iter([vec![-1.0, -2.0], vec![-3.0]]));
//! let weights = policy.log_probs.filled(1.0);
//! let scores = Scores { policy: &policy, reference: Some(&policy.log_probs), weights: &weights };
//! let dpo = Pairwise::new(Logistic::new(0.1)?);
//! let evaluation = dpo.evaluate(&[Comparison::new(0, 1)], scores)?;
//! assert!((evaluation.loss - 2f64.ln()).abs() < 1e-15);
//! assert_eq!(evaluation.slopes.log_probs.row(0), [-0.05, -0.05]);
//! assert_eq!(evaluation.slopes.log_probs.row(1), [0.05]);
//! assert_eq!(evaluation.metrics["rewards/accuracies"], 0.0); // a tie is not yet right
//! # Ok::<(), objectives::ObjectiveError>(())
//! ```
// A choice that is added must be decided everywhere.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
use std::collections::BTreeMap;

use mdp::{Channels, Steps};

mod aot;
mod divergence;
mod error;
mod feedback;
mod implicit_rewards;
mod kto;
pub mod laws;
mod likelihood;
mod links;
mod moving;
mod numbers;
mod pairwise;
mod ranked;
mod returns;
mod settings;
mod sft;
mod sum;
mod tdpo;
#[cfg(test)]
mod tests;
mod weighted;

pub use aot::Aot;
pub use divergence::Divergence;
pub use error::ObjectiveError;
pub use feedback::{Comparison, Demonstration, Feedback, Label, Ranking};
pub use implicit_rewards::ImplicitRewards;
pub use kto::Kto;
pub use likelihood::TokenLikelihood;
pub use links::{
    ApoDown, ApoZero, Bco, ChosenLikelihood, Clamped, Cpl, DiscoPop, Dpop, Exo, Hinge, Ipo, Linear, Logistic, Nca,
    Orpo, Robust, Simpo, Sppo,
};
pub use moving::MovingBco;
pub use pairwise::{Link, Pairwise, Point};
pub use ranked::PlackettLuce;
pub use returns::{DecisionReward, Reduction, ReturnSpec};
pub use sft::Sft;
pub use sum::{BoxObjective, WeightedSum};
pub use tdpo::Tdpo;
pub use weighted::Wpo;

/// The inputs of an objective, one row per episode.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// The policy's numbers.
    pub policy: &'a Channels,
    /// The reference's log-probabilities, if the objective needs them.
    pub reference: Option<&'a Steps>,
    /// Weight of each decision in the return.
    pub weights: &'a Steps,
}

/// A loss, its slopes and its metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The mean over the feedback.
    pub loss: f64,
    /// d(loss)/d(number) for every number of the policy (shapes of `Scores::policy`): for the divergence only if the
    /// objective differentiates it, for the entropy never.
    pub slopes: Channels,
    /// Means over the feedback by name, such as `rewards/chosen`, with the usual names.
    pub metrics: BTreeMap<&'static str, f64>,
    /// The implicit rewards of each feedback item, in order: for tables and intervals, and to merge batches.
    pub implicit_rewards: Vec<ImplicitRewards>,
}

/// The inputs that an objective needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a need by itself")]
pub struct Needs {
    /// The reference's log-probabilities.
    pub reference: bool,
    /// The policy's divergence channel (KL to the reference in every state).
    pub divergence: bool,
    /// The policy's collision channel (log of the sum of squared probabilities in every state).
    pub collision: bool,
    /// Whether the loss couples the examples of a batch, so that all must be scored before any slope is known (KTO's
    /// baseline).
    pub whole_batch: bool,
}

/// A loss as a function of numbers.
///
/// # Laws
/// The loss is the mean over the feedback: unless [`Needs::whole_batch`] is set, evaluating parts and averaging by
/// count gives the whole. `slopes` is the exact gradient; numbers documented as constant are treated as constants. A
/// non-finite number is refused by name. [`laws`] checks all of this.
pub trait Objective {
    /// The kind of feedback: a comparison, a ranking, a thumb up or down.
    type Feedback;

    /// The inputs it needs.
    fn needs(&self) -> Needs;

    /// Whether comparisons may have a margin, by which the better side's reward should be the higher one. An objective that
    /// has no place for one refuses it in `evaluate`.
    fn takes_margins(&self) -> bool {
        false
    }

    /// Evaluates the loss on `feedback`, whose indices are rows of `scores`.
    ///
    /// # Errors
    /// A number that is not finite (which episode, which decision), a missing channel, an index out of range, no
    /// feedback at all.
    fn evaluate(&self, feedback: &[Self::Feedback], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError>;

    /// Takes note of a batch that was learned from, for objectives with a memory ([`MovingBco`]); trainers call it once a
    /// step, after `evaluate`. Others remember nothing.
    ///
    /// # Errors
    /// As `evaluate`.
    fn advance(&self, _feedback: &[Self::Feedback], _scores: Scores<'_>) -> Result<(), ObjectiveError> {
        Ok(())
    }

    /// What is remembered of the steps so far, for checkpoints; nothing by default.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Remembers what [`state`](Self::state) returned before; of anything else, nothing.
    fn restore(&self, _state: &[f64]) {}
}
