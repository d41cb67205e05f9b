//! One training step, exact for any micro-batch size.
use std::collections::BTreeMap;

use mdp::{Channels, EpisodeOf, Mdp, Steps, weights};
use objectives::{Evaluation, Feedback, Objective, Scores};
use policies::{Learner, Policy};

use crate::ranks::Numbers;
use crate::safeguard::guard;
pub use crate::source::Slice;
pub(crate) use crate::source::SliceOf;
use crate::{Measures, ReferenceCache, Schedule, Settings, TrainError};

/// The reference in training: its policy, and a cache of its numbers.
pub struct Reference<'a, M: Mdp> {
    /// The policy, if there is one.
    pub policy: Option<&'a dyn Policy<M>>,
    /// Numbers computed before.
    pub cache: ReferenceCache,
}

impl<M: Mdp> std::fmt::Debug for Reference<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference").field("policy", &self.policy.is_some()).field("cached", &self.cache.len()).finish()
    }
}

impl<M: Mdp> Reference<'_, M> {
    /// The reference's log-probabilities of a slice's episodes; numbers missing in the cache are computed and cached.
    pub fn numbers<F>(&mut self, mdp: &M, slice: &Slice<M, F>, step: usize) -> Result<Steps, TrainError> {
        let unknown: Vec<usize> =
            (0..slice.examples.len()).filter(|&i| !self.cache.contains(slice.examples[i])).collect();
        if !unknown.is_empty() {
            let policy = self.policy.ok_or(TrainError::NoReference)?;
            let begins: Vec<usize> = begins(&slice.counts);
            let episodes: Vec<EpisodeOf<M>> =
                unknown.iter().flat_map(|&i| slice.episodes[begins[i]..begins[i + 1]].to_vec()).collect();
            let scored = policy.score(mdp, &episodes).map_err(|source| TrainError::of_policy(step, source))?.log_probs;
            let mut at = 0;
            for &i in &unknown {
                self.cache.insert(slice.examples[i], scored.slice(at..at + slice.counts[i]));
                at += slice.counts[i];
            }
        }
        let mut steps = Steps::default();
        for &example in &slice.examples {
            let known = self.cache.get(example).ok_or(TrainError::NoReference)?;
            known.rows().for_each(|row| steps.push(row));
        }
        Ok(steps)
    }
}

impl<M: Mdp> Reference<'_, M> {
    /// Keeps the numbers of a slice that another process has computed.
    pub(crate) fn remember<F>(&mut self, slice: &Slice<M, F>, numbers: &Steps) {
        let begins = begins(&slice.counts);
        for (example, rows) in slice.examples.iter().zip(begins.windows(2)) {
            if !self.cache.contains(*example) {
                self.cache.insert(*example, numbers.slice(rows[0]..rows[1]));
            }
        }
    }
}

fn begins(counts: &[usize]) -> Vec<usize> {
    std::iter::once(0)
        .chain(counts.iter().scan(0, |at, n| {
            *at += n;
            Some(*at)
        }))
        .collect()
}

/// The result of a training step.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Mean loss of the batch.
    pub loss: f64,
    /// Means over the batch's feedback.
    pub metrics: BTreeMap<&'static str, f64>,
    /// The problem's own metrics.
    pub measures: Measures,
    /// Gradient norm before clipping.
    pub gradient_norm: f64,
    /// Gradient norms of the policy's parts by name, if it has parts.
    pub gradient_norms: Vec<(&'static str, f64)>,
    /// Number of examples in the batch.
    pub examples: usize,
    /// Sum of the examples' sizes.
    pub size: usize,
    /// Number of tokens, if the problem counts them.
    pub tokens: Option<usize>,
}

impl Learned {
    /// The result of a step on a batch, as far as it is known before the step.
    pub(crate) fn of<M: Mdp, F>(slices: &[Slice<M, F>]) -> Self {
        Self {
            examples: slices.iter().map(|slice| slice.examples.len()).sum(),
            size: slices.iter().map(|slice| slice.size).sum(),
            ..Self::default()
        }
    }

    /// The result, if its gradient is finite.
    pub(crate) fn checked(self, step: usize) -> Result<Self, TrainError> {
        if self.gradient_norm.is_finite() {
            return Ok(self);
        }
        Err(TrainError::Diverged { step, what: format!("the gradient norm is {}", self.gradient_norm) })
    }

    fn add(&mut self, evaluation: &Evaluation, share: f64) {
        self.loss += share * evaluation.loss;
        for (name, value) in &evaluation.metrics {
            *self.metrics.entry(name).or_default() += share * value;
        }
    }
}

/// The loss and the problem's metrics.
pub struct Loss<'a, M: Mdp, F> {
    /// The loss.
    pub objective: &'a dyn Objective<Feedback = F>,
    /// The problem's metrics of a slice.
    pub measure: &'a dyn Fn(&Slice<M, F>, Scores<'_>) -> Measures,
}

impl<M: Mdp, F> Clone for Loss<'_, M, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Mdp, F> Copy for Loss<'_, M, F> {}

impl<M: Mdp, F> std::fmt::Debug for Loss<'_, M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loss").finish_non_exhaustive()
    }
}

/// Takes one step on a batch cut into slices: forward, loss and backward for each, then one update.
///
/// The gradient is that of the whole batch's mean loss. For an objective that couples the examples of a batch, all
/// slices are scored first; the slopes then drive a second forward pass, slice by slice.
pub fn learn<M: Mdp, L: Learner<M>, F: Feedback>(
    mdp: &M,
    learner: &mut L,
    reference: &mut Reference<'_, M>,
    loss: Loss<'_, M, F>,
    slices: &[Slice<M, F>],
    at: StepAt,
) -> Result<Learned, TrainError> {
    let step = at.step;
    let failed = |source| TrainError::of_policy(step, source);
    let total: usize = slices.iter().map(|slice| slice.feedback.len()).sum();
    let mut learned = Learned::of(slices);
    let whole = loss.objective.needs().whole_batch && slices.len() > 1;
    let mut whole_slopes =
        if whole { Some(coupled(mdp, learner, reference, loss, slices, at, &mut learned)?) } else { None };
    for slice in slices {
        let (policy, tape) = learner.forward(mdp, &slice.episodes).map_err(failed)?;
        let mut slopes = if let Some(parts) = &mut whole_slopes {
            parts.remove(0)
        } else {
            let numbers = at.reference_numbers(mdp, learner, reference, loss.objective, slice)?;
            slopes_of_part(loss, slice, (&policy, numbers.as_ref()), (total, step), &mut learned)?
        };
        if let Some(share) = at.safeguard {
            learned.measures.join(guard(learner, &tape, slice, &mut slopes, (share, step))?);
        }
        learner.backward(tape, &slopes).map_err(failed)?;
    }
    learned.gradient_norms = learner.gradient_norms().map_err(failed)?;
    learned.gradient_norm = learner.update(at.rate, at.max_gradient_norm).map_err(failed)?;
    Ok(learned)
}

/// The settings of one step.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepAt {
    /// Index of the step, from 0.
    pub step: usize,
    /// The learning rate.
    pub rate: f64,
    /// Gradient clipping norm.
    pub max_gradient_norm: Option<f64>,
    /// The share of the better side's progress that a step keeps ([`Settings::safeguard`]).
    pub safeguard: Option<f64>,
    /// Whether the reference is the average of the policy's weights that it keeps ([`Learner::follow`]).
    pub follows: bool,
    /// Whether each of several processes keeps its own share of the optimiser's state ([`Settings::shard_optimizer`]).
    pub shards: bool,
}

impl StepAt {
    /// The settings of step `step` of a run.
    pub(crate) fn of(settings: &Settings, step: usize, schedule: Schedule) -> Self {
        let Settings { max_gradient_norm, safeguard, .. } = *settings;
        let follows = settings.reference_ema.is_some();
        let shards = settings.shard_optimizer;
        Self { step, rate: schedule.at(step), max_gradient_norm, safeguard, follows, shards }
    }

    /// The reference's numbers of a slice, if the objective needs them.
    pub(crate) fn reference_numbers<M: Mdp, L: Learner<M>, F>(
        self,
        mdp: &M,
        learner: &L,
        reference: &mut Reference<'_, M>,
        objective: &dyn Objective<Feedback = F>,
        slice: &Slice<M, F>,
    ) -> Result<Option<Steps>, TrainError> {
        if !objective.needs().reference {
            return Ok(None);
        }
        if self.follows {
            let scored = learner.score_following(mdp, &slice.episodes);
            return Ok(Some(scored.map_err(|source| TrainError::of_policy(self.step, source))?.log_probs));
        }
        reference.numbers(mdp, slice, self.step).map(Some)
    }
}

/// Tells the objective of a batch that was learned from.
fn advance<F>(
    objective: &dyn Objective<Feedback = F>,
    feedback: &[F],
    scores: Scores<'_>,
    (step, examples): (usize, &[usize]),
) -> Result<(), TrainError> {
    let failed = |source| TrainError::Objective { step, examples: examples.to_vec(), source };
    objective.advance(feedback, scores).map_err(failed)
}

/// Evaluates the loss of one slice beside a fixed reference.
pub(crate) fn evaluate_slice<M: Mdp, F: Feedback>(
    mdp: &M,
    reference: &mut Reference<'_, M>,
    loss: Loss<'_, M, F>,
    slice: &Slice<M, F>,
    policy: &Channels,
    step: usize,
) -> Result<(Evaluation, Measures), TrainError> {
    let is_needed = loss.objective.needs().reference;
    let reference = if is_needed { Some(reference.numbers(mdp, slice, step)?) } else { None };
    let scores = Scores { policy, reference: reference.as_ref(), weights: &weights(&slice.episodes) };
    evaluate_scores(loss, slice, scores, step)
}

/// Evaluates the loss of one slice by its numbers.
pub(crate) fn evaluate_scores<M: Mdp, F: Feedback>(
    loss: Loss<'_, M, F>,
    slice: &Slice<M, F>,
    scores: Scores<'_>,
    step: usize,
) -> Result<(Evaluation, Measures), TrainError> {
    let evaluation = loss.objective.evaluate(&slice.feedback, scores).map_err(|source| TrainError::Objective {
        step,
        examples: slice.examples.clone(),
        source,
    })?;
    Ok((evaluation, (loss.measure)(slice, scores)))
}

/// Scores every slice, evaluates once, and returns the slopes by slice.
fn coupled<M: Mdp, L: Learner<M>, F: Feedback>(
    mdp: &M,
    learner: &L,
    reference: &mut Reference<'_, M>,
    loss: Loss<'_, M, F>,
    slices: &[Slice<M, F>],
    at: StepAt,
    learned: &mut Learned,
) -> Result<Vec<Channels>, TrainError> {
    let score = |slice: &Slice<M, F>| {
        let failed = |source| TrainError::of_policy(at.step, source);
        let channels = learner.score(mdp, &slice.episodes).map_err(failed)?;
        Ok((channels, at.reference_numbers(mdp, learner, reference, loss.objective, slice)?))
    };
    let numbers = slices.iter().map(score).collect::<Result<Vec<Numbers>, TrainError>>()?;
    slopes_of_all(loss, slices, &numbers, at.step, learned)
}

/// Evaluates one slice of a batch with `total` pieces of feedback, and returns the slopes of its share of the loss.
pub(crate) fn slopes_of_part<M: Mdp, F: Feedback>(
    loss: Loss<'_, M, F>,
    slice: &Slice<M, F>,
    (policy, reference): (&Channels, Option<&Steps>),
    (total, step): (usize, usize),
    learned: &mut Learned,
) -> Result<Channels, TrainError> {
    let scores = Scores { policy, reference, weights: &weights(&slice.episodes) };
    let (mut evaluation, measures) = evaluate_scores(loss, slice, scores, step)?;
    advance(loss.objective, &slice.feedback, scores, (step, &slice.examples))?;
    learned.measures.join(measures);
    add_entropy(&mut learned.measures, policy);
    let share = slice.feedback.len() as f64 / total as f64;
    learned.add(&evaluation, share);
    scale(&mut evaluation.slopes, share);
    Ok(evaluation.slopes)
}

/// Evaluates a batch at once by the numbers of its slices, and splits the slopes by slice.
pub(crate) fn slopes_of_all<M: Mdp, F: Feedback>(
    loss: Loss<'_, M, F>,
    slices: &[Slice<M, F>],
    numbers: &[Numbers],
    step: usize,
    learned: &mut Learned,
) -> Result<Vec<Channels>, TrainError> {
    let objective = loss.objective;
    let mut policy = Channels::default();
    let mut weigh = Steps::default();
    let mut references = objective.needs().reference.then(Steps::default);
    let (mut feedback, mut examples, mut ends) = (Vec::new(), Vec::new(), vec![0]);
    for (slice, (channels, numbers)) in slices.iter().zip(numbers) {
        feedback.extend(slice.feedback.iter().map(|f| f.shifted(policy.log_probs.len())));
        append(&mut policy, channels);
        let own_weights = weights(&slice.episodes);
        own_weights.rows().for_each(|row| weigh.push(row));
        let scores = Scores { policy: channels, reference: numbers.as_ref(), weights: &own_weights };
        learned.measures.join((loss.measure)(slice, scores));
        add_entropy(&mut learned.measures, channels);
        if let (Some(all), Some(numbers)) = (&mut references, numbers) {
            numbers.rows().for_each(|row| all.push(row));
        }
        examples.extend_from_slice(&slice.examples);
        ends.push(policy.log_probs.len());
    }
    let scores = Scores { policy: &policy, reference: references.as_ref(), weights: &weigh };
    let failed = |source| TrainError::Objective { step, examples: examples.clone(), source };
    let evaluation = objective.evaluate(&feedback, scores).map_err(failed)?;
    advance(objective, &feedback, scores, (step, &examples))?;
    learned.add(&evaluation, 1.0);
    Ok(ends
        .windows(2)
        .map(|pair| Channels {
            divergence: evaluation.slopes.divergence.as_ref().map(|d| d.slice(pair[0]..pair[1])),
            ..evaluation.slopes.log_probs.slice(pair[0]..pair[1]).into()
        })
        .collect())
}

/// Adds the entropy of every decision, if the policy reports it.
fn add_entropy(measures: &mut Measures, policy: &Channels) {
    if let Some(entropy) = &policy.entropy {
        measures.add_all("entropy", entropy.values());
    }
}

/// Appends the rows of `more` to `all`.
pub(crate) fn append(all: &mut Channels, more: &Channels) {
    more.log_probs.rows().for_each(|row| all.log_probs.push(row));
    for (to, from) in [
        (&mut all.divergence, &more.divergence),
        (&mut all.entropy, &more.entropy),
        (&mut all.mean_logit, &more.mean_logit),
        (&mut all.is_likeliest, &more.is_likeliest),
        (&mut all.collision, &more.collision),
    ] {
        if let Some(from) = from {
            let to = to.get_or_insert_with(Steps::default);
            from.rows().for_each(|row| to.push(row));
        }
    }
}

fn scale(slopes: &mut Channels, factor: f64) {
    slopes.log_probs.values_mut().iter_mut().for_each(|slope| *slope *= factor);
    if let Some(divergence) = &mut slopes.divergence {
        divergence.values_mut().iter_mut().for_each(|slope| *slope *= factor);
    }
}
