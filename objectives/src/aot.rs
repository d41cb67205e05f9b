use crate::implicit_rewards::check_comparisons;
use crate::numbers::{sigmoid, softplus};
use crate::pairwise::describe;
use crate::returns::{ReturnSpec, check, on_log_probs, weighted_totals};
use crate::settings::Check;
use crate::{Comparison, Evaluation, Needs, Objective, ObjectiveError, Scores};

/// AOT, alignment by optimal transport: not each pair is right, but the distribution of the better side's numbers lies above
/// that of the worse side's. The numbers of a batch are sorted, and the i-th smallest of one kind is compared with the i-th
/// smallest of the other: the mean of -(1 - e) log sigma(beta d_i) - e log sigma(-beta d_i).
///
/// [`Aot::paired`] sorts the policy's differences log pi(c) - log pi(r) and the reference's, d being their difference (TRL's
/// `aot`); [`Aot::unpaired`] sorts the better sides' log-ratios and the worse sides' (`aot_unpaired`).
///
/// It takes certain labels of weight 1 only: of a sorted batch no number belongs to one pair.
///
/// # References
/// Melnyk et al. 2024, arXiv:2406.05882.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aot {
    beta: f64,
    label_smoothing: f64,
    is_paired: bool,
}

impl Aot {
    /// Compares the differences of pairs: `beta` above 0; `label_smoothing` from 0 to below 0.5.
    pub fn paired(beta: f64, label_smoothing: f64) -> Result<Self, ObjectiveError> {
        Self::new(Check("aot"), beta, label_smoothing, true)
    }

    /// Compares better and worse sides, whichever pairs they are of; settings as for [`Aot::paired`].
    pub fn unpaired(beta: f64, label_smoothing: f64) -> Result<Self, ObjectiveError> {
        Self::new(Check("aot_unpaired"), beta, label_smoothing, false)
    }

    fn new(check: Check, beta: f64, label_smoothing: f64, is_paired: bool) -> Result<Self, ObjectiveError> {
        let label_smoothing = check.smoothing(label_smoothing)?;
        Ok(Self { beta: check.positive("beta", beta)?, label_smoothing, is_paired })
    }

    /// The loss of a difference and its derivative.
    fn at(&self, difference: f64) -> (f64, f64) {
        let (z, e) = (self.beta * difference, self.label_smoothing);
        let loss = (1.0 - e) * softplus(-z) + e * softplus(z);
        (loss, self.beta * (e * sigmoid(z) - (1.0 - e) * sigmoid(-z)))
    }
}

impl Objective for Aot {
    type Feedback = Comparison;

    fn needs(&self) -> Needs {
        Needs { whole_batch: true, ..ReturnSpec::default().needs() }
    }

    fn evaluate(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let return_spec = ReturnSpec::default();
        let returns = return_spec.returns(scores)?;
        check_comparisons(feedback, returns.len())?;
        check_certain(feedback)?;
        let own = weighted_totals(&scores.policy.log_probs, scores.weights);
        let difference = |of: &dyn Fn(usize) -> f64, c: &Comparison| of(c.chosen()) - of(c.rejected());
        let (upper, lower): (Vec<f64>, Vec<f64>) = if self.is_paired {
            let of_reference = |i: usize| own[i] - returns[i];
            feedback.iter().map(|c| (difference(&|i| own[i], c), difference(&of_reference, c))).unzip()
        } else {
            feedback.iter().map(|c| (returns[c.chosen()], returns[c.rejected()])).unzip()
        };
        let share = 1.0 / feedback.len() as f64;
        let (mut loss, mut slopes) = (0.0, vec![0.0; returns.len()]);
        for (high, low) in ranks(&upper).into_iter().zip(ranks(&lower)) {
            let (one, slope) = self.at(upper[high] - lower[low]);
            loss += share * one;
            slopes[feedback[high].chosen()] += share * slope;
            // Of a pair's own difference both sides are the policy's; the reference's differences do not learn.
            let other = if self.is_paired { feedback[high] } else { feedback[low] };
            slopes[other.rejected()] -= share * slope;
        }
        if !loss.is_finite() {
            return Err(ObjectiveError::LossNotFinite { feedback: 0, value: loss });
        }
        let reward = |i: usize, _: usize| self.beta * returns[i];
        let (implicit_rewards, metrics) = describe(feedback, scores, reward, |_| Vec::new());
        let slopes = on_log_probs(return_spec.spread(&slopes, scores.weights));
        Ok(Evaluation { loss, slopes, metrics, implicit_rewards })
    }
}

/// The indices of numbers, smallest first; equal ones keep their order.
fn ranks(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order
}

/// Refuses soft labels, weights and margins.
fn check_certain(feedback: &[Comparison]) -> Result<(), ObjectiveError> {
    let is_certain =
        |c: &Comparison| (c.preference == 0.0 || c.preference == 1.0) && (c.weight, c.margin) == (1.0, 0.0);
    match feedback.iter().position(|comparison| !is_certain(comparison)) {
        Some(at) => {
            let Comparison { preference, weight, margin, .. } = feedback[at];
            Err(ObjectiveError::NotCertain { feedback: at, preference, weight, margin })
        }
        None => Ok(()),
    }
}
