use mdp::Steps;

use crate::settings::Check;
use crate::{Evaluation, Needs, Objective, ObjectiveError, Scores};

/// A boxed objective for one kind of feedback.
pub type BoxObjective<F> = Box<dyn Objective<Feedback = F> + Send + Sync>;

/// A weighted sum of objectives over the same feedback, such as DPO with an SFT term.
///
/// Metrics and implicit rewards are the first term's; metrics that only later terms have are added.
///
/// # Examples
/// ```
/// use objectives::{ChosenLikelihood, Logistic, Pairwise, WeightedSum};
///
/// let dpo_with_sft = WeightedSum::new(vec![
///     (1.0, Box::new(Pairwise::new(Logistic::new(0.1)?))),
///     (0.2, Box::new(Pairwise::new(ChosenLikelihood))),
/// ])?;
/// # Ok::<(), objectives::ObjectiveError>(())
/// ```
pub struct WeightedSum<F> {
    terms: Vec<(f64, BoxObjective<F>)>,
    names: &'static [&'static str],
}

impl<F> std::fmt::Debug for WeightedSum<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let weights: Vec<f64> = self.terms.iter().map(|(weight, _)| *weight).collect();
        f.debug_struct("WeightedSum").field("weights", &weights).finish_non_exhaustive()
    }
}

impl<F> WeightedSum<F> {
    /// Creates the sum; weights are at least 0.
    pub fn new(terms: Vec<(f64, BoxObjective<F>)>) -> Result<Self, ObjectiveError> {
        for (weight, _) in &terms {
            Check("a weighted sum").not_negative("weight", *weight)?;
        }
        if terms.is_empty() { Err(ObjectiveError::NoTerms) } else { Ok(Self { terms, names: &[] }) }
    }

    /// Names the terms, in their order: each one's share of the loss is then a metric of that name.
    #[must_use]
    pub fn named(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }
}

impl<F> Objective for WeightedSum<F> {
    type Feedback = F;

    fn needs(&self) -> Needs {
        self.terms.iter().map(|(_, term)| term.needs()).fold(Needs::default(), |all, one| Needs {
            reference: all.reference || one.reference,
            divergence: all.divergence || one.divergence,
            collision: all.collision || one.collision,
            whole_batch: all.whole_batch || one.whole_batch,
        })
    }

    fn takes_margins(&self) -> bool {
        self.terms.iter().all(|(_, term)| term.takes_margins())
    }

    fn evaluate(&self, feedback: &[F], scores: Scores<'_>) -> Result<Evaluation, ObjectiveError> {
        let mut sum = Evaluation::default();
        sum.slopes.log_probs = scores.policy.log_probs.filled(0.0);
        for (i, (weight, term)) in self.terms.iter().enumerate() {
            let one = term.evaluate(feedback, scores)?;
            sum.loss += weight * one.loss;
            add(&mut sum.slopes.log_probs, &one.slopes.log_probs, *weight);
            if let Some(from) = &one.slopes.divergence {
                let to = sum.slopes.divergence.get_or_insert_with(|| from.filled(0.0));
                add(to, from, *weight);
            }
            if let Some(name) = self.names.get(i) {
                sum.metrics.insert(name, weight * one.loss);
            }
            one.metrics.into_iter().for_each(|(name, value)| _ = sum.metrics.entry(name).or_insert(value));
            if i == 0 {
                sum.implicit_rewards = one.implicit_rewards;
            }
        }
        Ok(sum)
    }

    fn advance(&self, feedback: &[F], scores: Scores<'_>) -> Result<(), ObjectiveError> {
        self.terms.iter().try_for_each(|(_, term)| term.advance(feedback, scores))
    }

    /// The states of the terms, each behind its length.
    fn state(&self) -> Vec<f64> {
        let states: Vec<Vec<f64>> = self.terms.iter().map(|(_, term)| term.state()).collect();
        if states.iter().all(Vec::is_empty) {
            return Vec::new();
        }
        states.into_iter().flat_map(|state| std::iter::once(state.len() as f64).chain(state)).collect()
    }

    fn restore(&self, state: &[f64]) {
        let mut left = state;
        for (_, term) in &self.terms {
            let (length, rest) = left.split_first().map_or((0, left), |(&length, rest)| (length as usize, rest));
            let (own, others) = rest.split_at(length.min(rest.len()));
            term.restore(own);
            left = others;
        }
    }
}

fn add(to: &mut Steps, from: &Steps, weight: f64) {
    to.values_mut().iter_mut().zip(from.values()).for_each(|(to, from)| *to += weight * from);
}
