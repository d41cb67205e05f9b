use crate::returns::check;
use crate::{Comparison, Evaluation, Needs, Objective, ObjectiveError, Scores};

/// WPO: weighs the loss of each comparison by how likely the policy itself is to write its two answers, which makes pairs of
/// others more like pairs of its own. The weight of an answer is the exponential of the mean over its tokens of
/// log pi(token) - log sum over the vocabulary of pi^2 (1 where the token is as likely as one drawn from the policy is on
/// average), and a pair's is the product of its sides'.
///
/// It needs the channel [`mdp::Channels::collision`]. Metric: `wpo_weight`, the mean weight.
///
/// # Laws
/// The weights are held constant: the slopes are those of the loss with these weights.
///
/// # References
/// Zhou et al. 2024, arXiv:2406.11827, Eq. 2, with the sampled alignment of its Section 3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wpo<O> {
    inner: O,
}

impl<O: Objective<Feedback = Comparison>> Wpo<O> {
    /// Weighs the comparisons of a loss.
    pub fn new(inner: O) -> Self {
        Self { inner }
    }
}

impl<O: Objective<Feedback = Comparison>> Objective for Wpo<O> {
    type Feedback = Comparison;

    fn needs(&self) -> Needs {
        Needs { collision: true, ..self.inner.needs() }
    }

    fn evaluate(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        check(scores, self.needs())?;
        let missing = ObjectiveError::Missing { what: "policy's collision log-probability" };
        let collision = scores.policy.collision.as_ref().ok_or(missing)?;
        let mean = |(row, collision): (&[f64], &[f64])| {
            row.iter().zip(collision).map(|(own, collision)| own - collision).sum::<f64>() / row.len().max(1) as f64
        };
        let aligned: Vec<f64> = scores.policy.log_probs.rows().zip(collision.rows()).map(mean).collect();
        let weight = |c: &Comparison| {
            // Rows out of range are the inner objective's to refuse.
            let of = |episode: usize| aligned.get(episode).copied().unwrap_or_default();
            (of(c.first) + of(c.second)).exp()
        };
        let weighed: Vec<Comparison> =
            feedback.iter().map(|c| Comparison { weight: c.weight * weight(c), ..*c }).collect();
        let mut evaluation = self.inner.evaluate(&weighed, scores)?;
        let total: f64 = feedback.iter().map(weight).sum();
        evaluation.metrics.insert("wpo_weight", total / feedback.len().max(1) as f64);
        Ok(evaluation)
    }

    fn advance(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<(), ObjectiveError> {
        self.inner.advance(feedback, scores)
    }

    fn state(&self) -> Vec<f64> {
        self.inner.state()
    }

    fn restore(&self, state: &[f64]) {
        self.inner.restore(state);
    }
}
