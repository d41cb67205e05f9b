use std::collections::BTreeMap;

use mdp::{Channels, EpisodeOf, Mdp};
use objectives::Objective;
use policies::Learner;

use crate::statistics::wilson;
use crate::step::{Reference, Slice, evaluate_slice};
use crate::{Hooks, Item, Sides, Source, TrainError};

/// What held-out data showed.
#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    /// How many examples were looked at.
    pub examples: usize,
    /// `loss` and the objective's metrics, means over the feedback; `divergence` and `entropy` per decision where the
    /// problem diagnoses them.
    pub metrics: BTreeMap<&'static str, f64>,
    /// The 95% interval of `rewards/accuracies`, where the objective has it.
    pub accuracy_interval: Option<(f64, f64)>,
    /// beta times the log-ratio of every decision of the better episodes.
    pub chosen_rewards: Vec<f64>,
    /// The same of the worse ones.
    pub rejected_rewards: Vec<f64>,
}

/// How to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Steps done, for messages.
    pub step: usize,
    /// Examples at once.
    pub micro_batch_size: usize,
    /// Examples at most.
    pub examples: usize,
    /// Turns a log-ratio into a reward.
    pub beta: f64,
}

/// Scores held-out examples; nothing learns.
pub fn evaluate<M: Mdp, L: Learner<M>, S: Source<Mdp = M>>(
    mdp: &M,
    learner: &L,
    reference: &mut Reference<'_, M>,
    objective: &dyn Objective<Feedback = S::Feedback>,
    data: &S,
    hooks: &Hooks<'_, M, L>,
    look: Look,
) -> Result<Evaluated, TrainError>
where
    EpisodeOf<M>: Clone,
{
    let n = data.len().min(look.examples);
    let mut evaluated = Evaluated { examples: n, ..Evaluated::default() };
    let mut totals = Totals::default();
    let mut from = 0;
    while from < n {
        let to = (from + look.micro_batch_size).min(n);
        let slice = Slice::new(read(data, from..to, "held-out")?);
        let failed = |source| TrainError::Policy { step: look.step, source };
        let policy = match &hooks.diagnose {
            Some(diagnose) => diagnose(learner, &slice.episodes).map_err(failed)?,
            None => learner.score(mdp, &slice.episodes).map_err(failed)?,
        };
        let evaluation = evaluate_slice(mdp, reference, objective, &slice, &policy, look.step)?;
        totals.add(evaluation.loss, &evaluation.metrics, slice.feedback.len() as f64);
        totals.diagnose(&policy);
        if reference.policy.is_some() {
            let numbers = reference.numbers(mdp, &slice, look.step)?;
            for feedback in &slice.feedback {
                for (side, to) in [
                    (feedback.chosen(), &mut evaluated.chosen_rewards),
                    (feedback.rejected(), &mut evaluated.rejected_rewards),
                ] {
                    let Some(i) = side else { continue };
                    let ratios = policy.log_probs.row(i).iter().zip(numbers.row(i));
                    to.extend(ratios.map(|(p, r)| look.beta * (p - r)));
                }
            }
        }
        from = to;
    }
    evaluated.metrics = totals.means();
    if let Some(share) = evaluated.metrics.get("rewards/accuracies") {
        evaluated.accuracy_interval = Some(wilson(share * totals.feedback, totals.feedback));
    }
    Ok(evaluated)
}

/// The examples at some positions.
pub(crate) fn read<S: Source>(
    data: &S,
    positions: impl IntoIterator<Item = usize>,
    what: &'static str,
) -> Result<Vec<(usize, Item<S::Mdp, S::Feedback>)>, TrainError> {
    positions
        .into_iter()
        .map(|index| {
            let item = data.item(index).map_err(|source| TrainError::Data { what, index, source })?;
            Ok((index, item))
        })
        .collect()
}

#[derive(Default)]
struct Totals {
    feedback: f64,
    sums: BTreeMap<&'static str, f64>,
    decisions: BTreeMap<&'static str, (f64, f64)>,
}

impl Totals {
    fn add(&mut self, loss: f64, metrics: &BTreeMap<&'static str, f64>, n: f64) {
        self.feedback += n;
        *self.sums.entry("loss").or_default() += n * loss;
        metrics.iter().for_each(|(name, value)| *self.sums.entry(name).or_default() += n * value);
    }

    fn diagnose(&mut self, channels: &Channels) {
        for (name, channel) in [("divergence", &channels.divergence), ("entropy", &channels.entropy)] {
            let Some(steps) = channel else { continue };
            let total = self.decisions.entry(name).or_default();
            total.0 += steps.values().iter().sum::<f64>();
            total.1 += steps.values().len() as f64;
        }
    }

    fn means(&self) -> BTreeMap<&'static str, f64> {
        let feedback = self.sums.iter().map(|(name, sum)| (*name, sum / self.feedback));
        let decisions = self.decisions.iter().map(|(name, (sum, n))| (*name, sum / n.max(1.0)));
        feedback.chain(decisions).collect()
    }
}
