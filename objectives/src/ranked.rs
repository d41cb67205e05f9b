use std::collections::BTreeMap;

use crate::implicit_rewards::{check_episode, check_loss, check_some};
use crate::numbers::log_sum_exp;
use crate::returns::{ReturnSpec, check, on_log_probs, totals};
use crate::settings::Check;
use crate::{Evaluation, ImplicitRewards, Needs, Objective, ObjectiveError, Ranking, Scores};

/// The Plackett-Luce likelihood of a ranking, best first: the sum over places k of
/// -log(exp z_k / (exp z_k + .. + exp z_K)) with z = beta times the return. With two episodes it is DPO.
///
/// In addition to [`ImplicitRewards::metrics`] it reports `logps/chosen` (the best) and `logps/rejected` (the mean of
/// the others).
///
/// # References
/// The paper's Theorem 1; Rafailov et al. 2023, arXiv:2305.18290, Appendix A.3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlackettLuce {
    beta: f64,
}

impl PlackettLuce {
    /// `beta` above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Ok(Self { beta: Check("plackett_luce").positive("beta", beta)? })
    }
}

impl Objective for PlackettLuce {
    type Feedback = Ranking;

    fn needs(&self) -> Needs {
        ReturnSpec::default().needs()
    }

    fn evaluate(&self, feedback: &[Ranking], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let return_spec = ReturnSpec::default();
        let rewards: Vec<f64> = return_spec.returns(scores)?.iter().map(|r| self.beta * r).collect();
        check_rankings(feedback, rewards.len())?;
        let log_probs = totals(&scores.policy.log_probs);
        let share = 1.0 / feedback.len() as f64;
        let (mut loss, mut slopes) = (0.0, vec![0.0; rewards.len()]);
        let (mut implicit_rewards, mut own) = (Vec::new(), BTreeMap::<&'static str, f64>::new());
        for (i, Ranking { best_first }) in feedback.iter().enumerate() {
            let places: Vec<f64> = best_first.iter().map(|&episode| rewards[episode]).collect();
            let (one, slopes_of_places) = likelihood(&places);
            loss += share * check_loss(i, one)?;
            for (&episode, slope) in best_first.iter().zip(slopes_of_places) {
                slopes[episode] += share * self.beta * slope;
            }
            implicit_rewards.push(rewards_of(&places));
            *own.entry("logps/chosen").or_default() += share * log_probs[best_first[0]];
            *own.entry("logps/rejected").or_default() += share * mean(best_first[1..].iter().map(|&e| log_probs[e]));
        }
        let mut metrics = ImplicitRewards::metrics(&implicit_rewards);
        metrics.extend(own);
        let slopes = on_log_probs(return_spec.spread(&slopes, scores.weights));
        Ok(Evaluation { loss, slopes, metrics, implicit_rewards })
    }
}

/// The negative log-likelihood of a ranking and its slopes: at every place, the softmax over the remaining items minus
/// the one-hot of the chosen item.
fn likelihood(places: &[f64]) -> (f64, Vec<f64>) {
    let (mut loss, mut slopes) = (0.0, vec![0.0; places.len()]);
    // The last place has nobody left to lose to.
    for taken in 0..places.len() - 1 {
        let total = log_sum_exp(&places[taken..]);
        loss += total - places[taken];
        slopes[taken] -= 1.0;
        places[taken..].iter().zip(&mut slopes[taken..]).for_each(|(z, slope)| *slope += (z - total).exp());
    }
    (loss, slopes)
}

fn rewards_of(places: &[f64]) -> ImplicitRewards {
    let n = places.len();
    let right: usize = (0..n).map(|i| places[i + 1..].iter().filter(|&&worse| places[i] > worse).count()).sum();
    ImplicitRewards {
        chosen: Some(places[0]),
        rejected: Some(mean(places[1..].iter().copied())),
        accuracy: Some(right as f64 / (n * (n - 1) / 2) as f64),
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

fn check_rankings(feedback: &[Ranking], episodes: usize) -> Result<(), ObjectiveError> {
    for (i, Ranking { best_first }) in feedback.iter().enumerate() {
        for (place, &episode) in best_first.iter().enumerate() {
            check_episode(i, episode, episodes)?;
            if best_first[..place].contains(&episode) {
                return Err(ObjectiveError::Ranking { feedback: i, best_first: best_first.clone() });
            }
        }
        if best_first.len() < 2 {
            return Err(ObjectiveError::Ranking { feedback: i, best_first: best_first.clone() });
        }
    }
    check_some(feedback)
}
