use mdp::{Channels, Mdp};
use objectives::{Feedback, ImplicitRewards, Objective};
use policies::Learner;

use crate::ranks::{Numbers, exchange};
use crate::statistics::wilson;
use crate::step::{Loss, Reference, Slice, SliceOf, append, evaluate_slice};
use crate::{Alone, Evaluated, Hooks, Item, Ranks, Settings, Source, TrainError};

/// Settings of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct EvalSettings {
    /// Number of steps done, for messages.
    pub step: usize,
    /// Examples per micro-batch.
    pub micro_batch_size: usize,
    /// Maximum number of examples; the seed selects them if there are more.
    pub examples: usize,
    /// The run's seed.
    pub seed: u64,
    /// The factor from log-ratio to reward.
    pub beta: f64,
}

impl EvalSettings {
    /// The settings of an evaluation after `step` steps of a run.
    pub(crate) fn of(settings: &Settings, step: usize) -> Self {
        let Settings { micro_batch_size, eval_examples: examples, seed, beta, .. } = *settings;
        Self { step, micro_batch_size, examples, seed, beta }
    }
}

/// Scores held-out examples without training. They are scored in slices and evaluated together, so that an objective
/// that couples examples sees all of them.
pub fn evaluate<M: Mdp, L: Learner<M>, S: Source<Mdp = M>>(
    mdp: &M,
    learner: &L,
    reference: &mut Reference<'_, M>,
    objective: &dyn Objective<Feedback = S::Feedback>,
    data: &S,
    hooks: &Hooks<'_, M, L>,
    look: EvalSettings,
) -> Result<Evaluated, TrainError> {
    Examination { mdp, learner, objective, data, hooks, look, ranks: &Alone }.run(reference, &mut |_| ())
}

/// An evaluation to be made.
pub(crate) struct Examination<'e, M: Mdp, L, S: Source<Mdp = M>> {
    pub(crate) mdp: &'e M,
    pub(crate) learner: &'e L,
    pub(crate) objective: &'e dyn Objective<Feedback = S::Feedback>,
    pub(crate) data: &'e S,
    pub(crate) hooks: &'e Hooks<'e, M, L>,
    pub(crate) look: EvalSettings,
    /// The processes that score together: slice `k` is scored by rank `k` modulo their number, and each has the result.
    pub(crate) ranks: &'e dyn Ranks,
}

impl<M: Mdp, L: Learner<M>, S: Source<Mdp = M>> Examination<'_, M, L, S> {
    /// Scores the examples, slice by slice, and evaluates them together; `scored` hears of every slice's examples.
    ///
    /// # Errors
    /// Unreadable data, a policy that can't score it; where several ranks score, all return an error.
    pub(crate) fn run(
        &self,
        reference: &mut Reference<'_, M>,
        scored: &mut dyn FnMut(usize),
    ) -> Result<Evaluated, TrainError> {
        let (mdp, data, look) = (self.mdp, self.data, self.look);
        let positions = mdp::chance::drawn(look.seed, "evaluation", look.examples, data.len());
        let (all, policy) = self.score(reference, &positions, scored)?;
        let loss = Loss { objective: self.objective, measure: &|slice, scores| data.measure(slice, scores) };
        let (evaluation, measures) = evaluate_slice(mdp, reference, loss, &all, &policy, look.step)?;
        let mut metrics = evaluation.metrics;
        metrics.insert("loss", evaluation.loss);
        for (name, channel) in [("divergence", &policy.divergence), ("entropy", &policy.entropy)] {
            if let Some(steps) = channel {
                metrics.insert(name, steps.values().iter().sum::<f64>() / steps.values().len().max(1) as f64);
            }
        }
        let judged = evaluation.implicit_rewards.iter().filter_map(|verdict| verdict.accuracy);
        let (right, n_judged) = judged.fold((0.0, 0.0), |(right, n), accuracy| (right + accuracy, n + 1.0));
        let (chosen_rewards, rejected_rewards) = per_decision(reference, mdp, &all, &policy, look)?;
        Ok(Evaluated {
            examples: positions.len(),
            metrics,
            measures,
            ties: evaluation.implicit_rewards.iter().filter(|rewards| is_tie(rewards)).count(),
            implicit_rewards: evaluation.implicit_rewards,
            accuracy_interval: (n_judged > 0.0).then(|| wilson(right, n_judged)),
            chosen_rewards,
            rejected_rewards,
        })
    }

    /// Scores the examples at `positions`, slice by slice, with the other ranks.
    fn score(
        &self,
        reference: &mut Reference<'_, M>,
        positions: &[usize],
        scored: &mut dyn FnMut(usize),
    ) -> Result<(SliceOf<S>, Channels), TrainError> {
        let slices: Vec<&[usize]> = positions.chunks(self.look.micro_batch_size.max(1)).collect();
        let mut examples = Vec::with_capacity(slices.len());
        let own = self.score_own(reference, &slices, (&mut examples, scored));
        let numbers = if self.ranks.size() == 1 { own? } else { exchange(self.ranks, own, slices.len())? };
        let (mut all, mut policy) = (Slice::new([]), Channels::default());
        for (slice, (channels, of_reference)) in examples.into_iter().zip(numbers) {
            if let Some(numbers) = of_reference {
                reference.remember(&slice, &numbers);
            }
            append(&mut policy, &channels);
            all.extend(slice);
        }
        Ok((all, policy))
    }

    /// Reads all slices into `examples`, and scores those of this rank.
    fn score_own(
        &self,
        reference: &mut Reference<'_, M>,
        slices: &[&[usize]],
        (examples, scored): (&mut Vec<SliceOf<S>>, &mut dyn FnMut(usize)),
    ) -> Result<Vec<Numbers>, TrainError> {
        let failed = |source| TrainError::of_policy(self.look.step, source);
        let mut own = Vec::new();
        for (k, positions) in slices.iter().enumerate() {
            let slice = Slice::new(read(self.data, positions.iter().copied(), "held-out")?);
            if k % self.ranks.size() == self.ranks.rank() {
                let channels = match &self.hooks.diagnose {
                    Some(diagnose) => diagnose(self.learner, &slice.episodes).map_err(failed)?,
                    None => self.learner.score(self.mdp, &slice.episodes).map_err(failed)?,
                };
                let of_reference =
                    reference.policy.map(|_| reference.numbers(self.mdp, &slice, self.look.step)).transpose()?;
                own.push((channels, of_reference));
            }
            examples.push(slice);
            scored(positions.len());
        }
        Ok(own)
    }
}

/// Whether both sides of a comparison have the same reward: accuracy counts it as wrong.
fn is_tie(rewards: &ImplicitRewards) -> bool {
    rewards.chosen.is_some() && rewards.chosen == rewards.rejected
}

/// beta times the log-ratio of every decision of the better and of the worse episodes.
fn per_decision<M: Mdp, F: Feedback>(
    reference: &mut Reference<'_, M>,
    mdp: &M,
    slice: &Slice<M, F>,
    policy: &Channels,
    look: EvalSettings,
) -> Result<(Vec<f64>, Vec<f64>), TrainError> {
    let (mut chosen, mut rejected) = (Vec::new(), Vec::new());
    if reference.policy.is_some() {
        let numbers = reference.numbers(mdp, slice, look.step)?;
        for feedback in &slice.feedback {
            for (side, to) in [(feedback.chosen(), &mut chosen), (feedback.rejected(), &mut rejected)] {
                let Some(i) = side else { continue };
                let rows = policy.log_probs.row(i).iter().zip(numbers.row(i)).zip(slice.episodes[i].weights());
                to.extend(rows.map(|((p, r), weight)| look.beta * (weight * (p - r))));
            }
        }
    }
    Ok((chosen, rejected))
}

/// Examples with their indices.
pub(crate) type Positioned<S> = Vec<(usize, Item<<S as Source>::Mdp, <S as Source>::Feedback>)>;

/// Reads the examples at given indices.
pub(crate) fn read<S: Source>(
    data: &S,
    positions: impl IntoIterator<Item = usize>,
    what: &'static str,
) -> Result<Positioned<S>, TrainError> {
    positions
        .into_iter()
        .map(|index| {
            let item = data.item(index).map_err(|source| TrainError::Data { what, index, source })?;
            Ok((index, item))
        })
        .collect()
}
