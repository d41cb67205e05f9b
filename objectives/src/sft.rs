use crate::implicit_rewards::{check_episode, check_loss, check_some};
use crate::returns::{DecisionReward, Reduction, ReturnSpec, check, on_log_probs, totals};
use crate::{Demonstration, Evaluation, ImplicitRewards, Needs, Objective, ObjectiveError, Scores};

/// Supervised fine-tuning: the negative log-likelihood of each demonstration, averaged over them.
///
/// The sum over an example's decisions is the default, as in the original DPO code; [`Reduction::PerToken`] takes their
/// mean. (TRL averages over all tokens of a batch, so long examples weigh more.) For comparisons, use
/// [`ChosenLikelihood`](crate::ChosenLikelihood).
///
/// Metrics: `nll_loss`, the loss itself, `logps/chosen`, nats per episode, and `nll_per_token`, the negative
/// log-likelihood per decision averaged over the demonstrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sft {
    /// The reduction over an example's decisions.
    pub reduction: Reduction,
}

impl Objective for Sft {
    type Feedback = Demonstration;

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn evaluate(&self, feedback: &[Demonstration], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let return_spec = ReturnSpec { reward: DecisionReward::LogProb, reduction: self.reduction };
        check_some(feedback)?;
        let returns = return_spec.returns(scores)?;
        let per_token = ReturnSpec { reduction: Reduction::PerToken, ..return_spec }.returns(scores)?;
        let log_probs = totals(&scores.policy.log_probs);
        let share = 1.0 / feedback.len() as f64;
        let mut evaluation = Evaluation::default();
        let mut slopes = vec![0.0; returns.len()];
        for (i, Demonstration { episode }) in feedback.iter().copied().enumerate() {
            check_episode(i, episode, returns.len())?;
            evaluation.loss += share * check_loss(i, -returns[episode])?;
            slopes[episode] -= share;
            for (name, value) in [("logps/chosen", log_probs[episode]), ("nll_per_token", -per_token[episode])] {
                *evaluation.metrics.entry(name).or_default() += share * value;
            }
            evaluation
                .implicit_rewards
                .push(ImplicitRewards { chosen: Some(returns[episode]), ..ImplicitRewards::default() });
        }
        evaluation.metrics.insert("nll_loss", evaluation.loss);
        evaluation.slopes = on_log_probs(return_spec.spread(&slopes, scores.weights));
        Ok(evaluation)
    }
}
