use std::sync::{Mutex, PoisonError};

use crate::{Bco, Comparison, Evaluation, ImplicitRewards, Needs, Objective, ObjectiveError, Pairwise, Scores};

/// BCO with its moving delta: each side is classified against the running mean of the rewards of both sides, over all steps
/// so far and the batch at hand.
///
/// Metric: `delta`, beside those of [`Bco`].
///
/// # Laws
/// Delta is held constant: the slopes are those of [`Bco::shifted`] with it.
///
/// # References
/// Jung et al. 2024, arXiv:2404.04656; the running mean as TRL's BCO trainer had it.
#[derive(Debug)]
pub struct MovingBco {
    beta: f64,
    unshifted: Pairwise<Bco>,
    seen: Mutex<Seen>,
}

/// The rewards of the steps so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: f64,
    mean: f64,
}

impl Seen {
    /// With the rewards of a batch.
    fn and(self, rewards: &[ImplicitRewards]) -> Self {
        let values = || rewards.iter().flat_map(|one| one.chosen.into_iter().chain(one.rejected));
        let (n, sum) = values().fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
        let count = self.count + n;
        Self { count, mean: if count > 0.0 { (self.count * self.mean + sum) / count } else { 0.0 } }
    }
}

impl MovingBco {
    /// `beta` above 0.
    pub fn new(beta: f64) -> Result<Self, ObjectiveError> {
        Self::of(beta, |bco| bco)
    }

    /// The same with other returns, such as those of [`Pairwise::with_tail_weight`].
    pub fn of(beta: f64, change: impl FnOnce(Pairwise<Bco>) -> Pairwise<Bco>) -> Result<Self, ObjectiveError> {
        Ok(Self { beta, unshifted: change(Pairwise::new(Bco::new(beta)?)), seen: Mutex::default() })
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    fn with(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Seen, ObjectiveError> {
        Ok(self.seen().and(&self.unshifted.evaluate(feedback, scores)?.implicit_rewards))
    }
}

impl Objective for MovingBco {
    type Feedback = Comparison;

    fn needs(&self) -> Needs {
        Needs { whole_batch: true, ..self.unshifted.needs() }
    }

    fn evaluate(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        let delta = self.with(feedback, scores)?.mean;
        let shifted = self.unshifted.with_link(Bco::shifted(self.beta, delta)?);
        let mut evaluation = shifted.evaluate(feedback, scores)?;
        evaluation.metrics.insert("delta", delta);
        Ok(evaluation)
    }

    fn advance(&self, feedback: &[Comparison], scores: Scores<'_>) -> Result<(), ObjectiveError> {
        self.set(self.with(feedback, scores)?);
        Ok(())
    }

    fn state(&self) -> Vec<f64> {
        let Seen { count, mean } = self.seen();
        vec![count, mean]
    }

    fn restore(&self, state: &[f64]) {
        self.set(if let [count, mean] = *state { Seen { count, mean } } else { Seen::default() });
    }
}
