use crate::implicit_rewards::{check_episode, check_loss, check_some};
use crate::numbers::{sigmoid, sigmoid_slope};
use crate::returns::{ReturnSpec, check, on_log_probs, totals};
use crate::settings::Check;
use crate::{Evaluation, ImplicitRewards, Label, Needs, Objective, ObjectiveError, Scores};

/// KTO: w+ (1 - sigma(beta (x - k))) for a desirable episode of return x, w- (1 - sigma(beta (k - x))) for an
/// undesirable one.
///
/// The baseline k is the mean return of the mismatched episodes of the whole batch, at least 0: an estimate of
/// KL(policy || reference). With no mismatched episodes it is 0, and the loss is TRL's `apo_zero_unpaired`.
///
/// Metrics: `kl`, and the means of each side over the labels that have it (`rewards/chosen`, `logps/rejected`, ..).
/// `rewards/accuracies` is the share of labels whose reward is strictly on the right side of beta k.
///
/// # Laws
/// The baseline is held constant: mismatched episodes get no slope.
///
/// # References
/// Ethayarajh et al. 2024, arXiv:2402.01306, Eq. 7.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kto {
    beta: f64,
    desirable_weight: f64,
    undesirable_weight: f64,
    is_of_batch: bool,
}

impl Kto {
    /// `beta` above 0; both weights 1.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Self::weighted(beta, 1.0, 1.0)
    }

    /// `beta` above 0; the weights of the two kinds of label, from 0 up.
    pub fn weighted(beta: f64, desirable_weight: f64, undesirable_weight: f64) -> Result<Self, ObjectiveError> {
        let check = Check("kto");
        Ok(Self {
            beta: check.positive("beta", beta)?,
            desirable_weight: check.not_negative("desirable_weight", desirable_weight)?,
            undesirable_weight: check.not_negative("undesirable_weight", undesirable_weight)?,
            is_of_batch: false,
        })
    }

    /// Takes the mean return of the labelled episodes themselves as the baseline, at least 0 and held constant: Diffusion-KTO,
    /// as its released code has it (Li et al. 2024, arXiv:2404.04465, Eq. 8). There are no mismatched images for a caption.
    #[must_use]
    pub fn with_batch_baseline(self) -> Self {
        Self { is_of_batch: true, ..self }
    }
}

impl Objective for Kto {
    type Feedback = Label;

    fn needs(&self) -> Needs {
        Needs { whole_batch: true, ..ReturnSpec::default().needs() }
    }

    fn evaluate(&self, feedback: &[Label], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let return_spec = ReturnSpec::default();
        let returns = return_spec.returns(scores)?;
        check_labels(feedback, returns.len())?;
        let baseline = self.baseline(feedback, &returns);
        let share = 1.0 / feedback.len() as f64;
        let (mut loss, mut slopes, mut implicit_rewards) = (0.0, vec![0.0; returns.len()], Vec::new());
        for (i, label) in feedback.iter().enumerate() {
            let (sign, weight) =
                if label.desirable { (1.0, self.desirable_weight) } else { (-1.0, self.undesirable_weight) };
            let z = sign * self.beta * (returns[label.episode] - baseline);
            loss += share * check_loss(i, weight * sigmoid(-z))?;
            slopes[label.episode] -= share * weight * sign * self.beta * sigmoid_slope(z);
            let reward = Some(self.beta * returns[label.episode]);
            implicit_rewards.push(ImplicitRewards {
                chosen: reward.filter(|_| label.desirable),
                rejected: reward.filter(|_| !label.desirable),
                accuracy: Some(if z > 0.0 { 1.0 } else { 0.0 }),
            });
        }
        let mut metrics = ImplicitRewards::metrics(&implicit_rewards);
        metrics.insert("kl", baseline);
        let log_probs = totals(&scores.policy.log_probs);
        for (name, desirable) in [("logps/chosen", true), ("logps/rejected", false)] {
            let side: Vec<f64> =
                feedback.iter().filter(|label| label.desirable == desirable).map(|l| log_probs[l.episode]).collect();
            if !side.is_empty() {
                metrics.insert(name, side.iter().sum::<f64>() / side.len() as f64);
            }
        }
        let slopes = on_log_probs(return_spec.spread(&slopes, scores.weights));
        Ok(Evaluation { loss, slopes, metrics, implicit_rewards })
    }
}

impl Kto {
    fn baseline(&self, feedback: &[Label], returns: &[f64]) -> f64 {
        let of = |label: &Label| if self.is_of_batch { Some(label.episode) } else { label.mismatched };
        let values: Vec<f64> = feedback.iter().filter_map(of).map(|i| returns[i]).collect();
        if values.is_empty() { 0.0 } else { (values.iter().sum::<f64>() / values.len() as f64).max(0.0) }
    }
}

fn check_labels(feedback: &[Label], episodes: usize) -> Result<(), ObjectiveError> {
    for (i, label) in feedback.iter().enumerate() {
        check_episode(i, label.episode, episodes)?;
        label.mismatched.map_or(Ok(()), |other| check_episode(i, other, episodes))?;
    }
    check_some(feedback)
}
