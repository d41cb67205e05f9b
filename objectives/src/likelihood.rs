use crate::implicit_rewards::check_comparisons;
use crate::pairwise::describe;
use crate::returns::{DecisionReward, ReturnSpec, check, on_log_probs};
use crate::{Comparison, Evaluation, Needs, Objective, ObjectiveError, Scores};

/// The negative log-likelihood of the better sides per token of the batch: TRL's `sft` among other losses. Long answers
/// count more than in [`ChosenLikelihood`](crate::ChosenLikelihood), which sums or averages each answer by itself.
///
/// Metrics: those of a comparison with rewards of log-probabilities, and `nll_loss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenLikelihood;

impl Objective for TokenLikelihood {
    type Feedback = Comparison;

    fn needs(&self) -> Needs {
        Needs { whole_batch: true, ..Needs::default() }
    }

    fn evaluate(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let spec = ReturnSpec { reward: DecisionReward::LogProb, ..ReturnSpec::default() };
        let returns = spec.returns(scores)?;
        check_comparisons(feedback, returns.len())?;
        let n: usize = feedback.iter().map(|c| scores.policy.log_probs.row(c.chosen()).len()).sum();
        let share = 1.0 / n.max(1) as f64;
        let (mut loss, mut slopes) = (0.0, vec![0.0; returns.len()]);
        for comparison in feedback {
            let (chosen, share) = (comparison.chosen(), share * comparison.weight);
            loss -= share * returns[chosen];
            slopes[chosen] -= share;
        }
        let (implicit_rewards, mut metrics) = describe(feedback, scores, |i, _| returns[i], |_| Vec::new());
        metrics.insert("nll_loss", loss);
        Ok(Evaluation { loss, slopes: on_log_probs(spec.spread(&slopes, scores.weights)), metrics, implicit_rewards })
    }
}
