use mdp::Channels;

use crate::numbers::{sigmoid, softplus};
use crate::pairwise::{Order, describe, mean_loss};
use crate::returns::{ReturnSpec, check, weighted_totals};
use crate::settings::Check;
use crate::{Comparison, Evaluation, Needs, Objective, ObjectiveError, Scores};

/// Token-level DPO: -log sigma(beta (D - alpha (k_r - k_c))), where k is an episode's KL(reference || policy) summed
/// over the states of its decisions (the paper's Eq. 14 without its beta).
///
/// It needs the divergence channel. Rewards are beta times the log-ratio as in the other losses; the original code adds
/// beta times the divergence to them.
///
/// # Laws
/// TDPO2 has a stop-gradient on k_c: `slopes` are the gradient with that number held constant.
///
/// # References
/// Zeng et al. 2024, arXiv:2404.11999.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tdpo {
    beta: f64,
    alpha: f64,
    chosen_learns: bool,
}

impl Tdpo {
    /// TDPO1: `beta` above 0; alpha is 1 and both divergences have gradients.
    pub fn v1(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("tdpo").positive("beta", beta)?, alpha: 1.0, chosen_learns: true })
    }

    /// TDPO2: `beta` above 0; `alpha`, the weight of the divergences, at least 0 (the authors use 0.5); the chosen
    /// side's divergence has no gradient.
    pub fn v2(beta: f64, alpha: f64) -> Result<Self, ObjectiveError> {
        let check = Check("tdpo");
        Ok(Self {
            beta: check.positive("beta", beta)?,
            alpha: check.not_negative("alpha", alpha)?,
            chosen_learns: false,
        })
    }
}

impl Objective for Tdpo {
    type Feedback = Comparison;

    fn needs(&self) -> Needs {
        Needs { reference: true, divergence: true, ..Needs::default() }
    }

    fn takes_margins(&self) -> bool {
        true
    }

    fn evaluate(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let return_spec = ReturnSpec::default();
        let returns = return_spec.returns(scores)?;
        let divergence = scores.policy.divergence.as_ref().map(|steps| weighted_totals(steps, scores.weights));
        let divergence = divergence.unwrap_or_default();
        let (mut slopes, mut divergence_slopes) = (vec![0.0; returns.len()], vec![0.0; returns.len()]);
        let loss = mean_loss(feedback, returns.len(), |Order { chosen, rejected, share, margin }| {
            let gap = divergence[rejected] - divergence[chosen];
            let z = self.beta * (returns[chosen] - returns[rejected] - self.alpha * gap) - margin;
            let pull = share * self.beta * sigmoid(-z);
            slopes[chosen] -= pull;
            slopes[rejected] += pull;
            divergence_slopes[rejected] += self.alpha * pull;
            if self.chosen_learns {
                divergence_slopes[chosen] -= self.alpha * pull;
            }
            softplus(-z)
        })?;
        let (implicit_rewards, metrics) = describe(feedback, scores, |i, _| self.beta * returns[i], |_| Vec::new());
        let slopes = Channels {
            divergence: Some(return_spec.spread(&divergence_slopes, scores.weights)),
            ..return_spec.spread(&slopes, scores.weights).into()
        };
        Ok(Evaluation { loss, slopes, metrics, implicit_rewards })
    }
}
