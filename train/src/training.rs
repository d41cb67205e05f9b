use std::path::PathBuf;

use mdp::Mdp;
use mdp::chance::Order;
use objectives::{Objective, Scores};
use policies::{Learner, Policy};

use crate::evaluate::{EvalSettings, evaluate, read};
use crate::step::{Learned, Loss, Reference, Slice, SliceOf, StepAt};
use crate::tensorboard::{EventFile, Hyperparameter, begins_at};
use crate::{
    Alone, CacheKey, Evaluated, Hooks, Ranks, ReferenceCache, RunFolder, Schedule, Settings, Source, TrainError,
    learn_together,
};

/// The trainer for your own program: data, objective, reference and settings.
///
/// With a folder ([`run`](Self::run)) it writes records, TensorBoard events, checkpoints and the policy, and a killed
/// run continues from its newest checkpoint. Without one ([`steps`](Self::steps)) it is an iterator.
pub struct Training<'a, M: Mdp, S: Source<Mdp = M>> {
    pub(crate) mdp: &'a M,
    pub(crate) data: &'a S,
    pub(crate) objective: &'a dyn Objective<Feedback = S::Feedback>,
    pub(crate) held_out: Option<&'a S>,
    pub(crate) reference: Option<&'a dyn Policy<M>>,
    pub(crate) settings: Settings,
    pub(crate) hyperparameters: Vec<(String, Hyperparameter)>,
    key: Option<CacheKey>,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) ranks: &'a dyn Ranks,
}

impl<M: Mdp, S: Source<Mdp = M>> std::fmt::Debug for Training<'_, M, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Training").field("examples", &self.data.len()).field("settings", &self.settings).finish()
    }
}

impl<'a, M: Mdp, S: Source<Mdp = M>> Training<'a, M, S> {
    /// Creates a trainer with default settings and no reference.
    pub fn new(mdp: &'a M, data: &'a S, objective: &'a dyn Objective<Feedback = S::Feedback>) -> Self {
        let (held_out, reference, key, cache) = (None, None, None, None);
        let (settings, hyperparameters) = (Settings::default(), Vec::new());
        Self { mdp, data, objective, held_out, reference, settings, hyperparameters, key, cache, ranks: &Alone }
    }

    /// Sets the reference policy.
    #[must_use]
    pub fn reference(self, reference: &'a dyn Policy<M>) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// Sets the held-out examples for evaluation, if there are any.
    #[must_use]
    pub fn held_out(self, data: impl Into<Option<&'a S>>) -> Self {
        Self { held_out: data.into(), ..self }
    }

    /// Sets the training settings.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Sets what TensorBoard's table of hyperparameters shows of a run in a folder.
    #[must_use]
    pub fn hyperparameters(self, hyperparameters: Vec<(String, Hyperparameter)>) -> Self {
        Self { hyperparameters, ..self }
    }

    /// Sets the fingerprints of reference and data; a run in a folder is not resumed with others.
    ///
    /// By default they are [`Policy::identity`] and [`Source::fingerprint`]. The latter hashes some of the examples
    /// only: give a key of your own where data that differ elsewhere must be told apart.
    #[must_use]
    pub fn key(self, key: CacheKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Sets the file of the reference's numbers, if there is one: it is read if it exists, and refused if its key is
    /// another. A run writes it with every checkpoint, [`steps`](Self::steps) when the iteration ends.
    #[must_use]
    pub fn cache(self, path: impl Into<Option<PathBuf>>) -> Self {
        Self { cache: path.into(), ..self }
    }

    /// Sets the processes that train together, this one among them; by default it is alone. Each makes the same trainer, with a
    /// policy that is the same at the start, and calls the same function of it.
    #[must_use]
    pub fn ranks(self, ranks: &'a dyn Ranks) -> Self {
        Self { ranks, ..self }
    }

    /// The same trainer in this process alone.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            hyperparameters: self.hyperparameters.clone(),
            key: self.key.clone(),
            cache: self.cache.clone(),
            ranks: &Alone,
            ..*self
        }
    }

    /// Trains without a folder: a lazy iterator of steps.
    ///
    /// # Errors
    /// Invalid settings, empty data, or a cache of another reference or other data.
    pub fn steps<'t, L: Learner<M>>(&'t self, policy: &'t mut L) -> Result<TrainingSteps<'t, M, L, S>, TrainError> {
        let settings = self.settings.clone().checked()?;
        if self.data.is_empty() {
            return Err(TrainError::Empty("training"));
        }
        self.prepare(policy)?;
        let schedule = settings.schedule(self.data.len());
        let key = if self.cache.is_some() { self.cache_key()? } else { CacheKey::default() };
        let reference = Reference { policy: self.reference, cache: self.load_cache(&key)? };
        Ok(TrainingSteps { training: self, settings, policy, reference, key, schedule, step: 0 })
    }

    /// Evaluates a policy on examples without training.
    ///
    /// # Errors
    /// Unreadable data, or a policy that can't score it.
    pub fn evaluate<L: Learner<M>>(&self, policy: &L, data: &S) -> Result<Evaluated, TrainError> {
        self.evaluate_with(policy, data, &Hooks::default())
    }

    /// As [`evaluate`](Self::evaluate), with a problem's additions.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_with<L: Learner<M>>(
        &self,
        policy: &L,
        data: &S,
        hooks: &Hooks<'_, M, L>,
    ) -> Result<Evaluated, TrainError> {
        let mut reference = Reference { policy: self.reference, cache: ReferenceCache::default() };
        let look = EvalSettings::of(&self.settings, 0);
        evaluate(self.mdp, policy, &mut reference, self.objective, data, hooks, look)
    }

    /// Has the learner provide what the objective and the settings need.
    pub(crate) fn prepare<L: Learner<M>>(&self, policy: &mut L) -> Result<(), TrainError> {
        if self.objective.needs().divergence {
            let failed = |source| TrainError::Policy { step: 0, source };
            policy.provide_divergence(self.reference).map_err(failed)?;
        }
        let failed = |source| TrainError::Policy { step: 0, source };
        if self.objective.needs().collision {
            policy.provide_collision().map_err(failed)?;
        }
        if let Some(decay) = self.settings.reference_ema {
            policy.follow(decay).map_err(failed)?;
        }
        Ok(())
    }

    /// Opens a file for the events after `step` steps; the first of a run has its hyperparameters.
    pub(crate) fn events(&self, folder: &RunFolder, step: usize) -> Result<EventFile, TrainError> {
        let mut events = EventFile::create(&folder.join("tensorboard"), begins_at(step))?;
        if step == 0 && !self.hyperparameters.is_empty() {
            let evaluated = ["eval/loss", "eval/rewards/accuracies", "train/loss"];
            let metrics = if self.held_out.is_some() { &evaluated[..] } else { &evaluated[2..] };
            events.hyperparameters(&self.hyperparameters, metrics)?;
        }
        Ok(events)
    }

    /// The key that was set, or the fingerprints of reference and data.
    pub(crate) fn cache_key(&self) -> Result<CacheKey, TrainError> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let failed = |what| move |source| TrainError::Fingerprint { what, source };
        let model = self
            .reference
            .map(Policy::identity)
            .transpose()
            .map_err(|error| failed("reference")(error.into()))?
            .flatten();
        let data = self.data.fingerprint().map_err(failed("training data"))?;
        Ok(CacheKey { model: model.unwrap_or_default(), data })
    }

    /// Reads the cache file if there is one.
    pub(crate) fn load_cache(&self, key: &CacheKey) -> Result<ReferenceCache, TrainError> {
        match &self.cache {
            Some(path) if path.exists() => ReferenceCache::load(path, key),
            _ => Ok(ReferenceCache::default()),
        }
    }
}

/// Reads the batch of a step, cut into slices for so many ranks.
pub(crate) fn batch<S: Source>(
    data: &S,
    settings: &Settings,
    (step, ranks): (usize, usize),
) -> Result<Vec<SliceOf<S>>, TrainError> {
    let read = |indices: Vec<usize>| Ok(Slice::new(read(data, indices, "training")?));
    slices(data, settings, (step, ranks)).into_iter().map(read).collect()
}

/// The indices of the examples of a step, slice by slice: each rank has some, if there are enough.
pub(crate) fn slices<S: Source>(data: &S, settings: &Settings, (step, ranks): (usize, usize)) -> Vec<Vec<usize>> {
    let n = data.len();
    let per_epoch = settings.steps_per_epoch(n);
    let epoch = step / per_epoch;
    let order = Order::new(settings.seed, epoch as u64, n);
    let from = (step % per_epoch) * settings.batch_size;
    let to = (from + settings.batch_size).min(n);
    let indices: Vec<usize> = (from..to).filter_map(|i| order.at(i)).map(|i| data.index_in_epoch(i, epoch)).collect();
    let at_once = settings.micro_batch_size.min(indices.len().div_ceil(ranks).max(1));
    indices.chunks(at_once).map(<[usize]>::to_vec).collect()
}

/// An iterator of training steps.
pub struct TrainingSteps<'t, M: Mdp, L, S: Source<Mdp = M>> {
    training: &'t Training<'t, M, S>,
    settings: Settings,
    policy: &'t mut L,
    reference: Reference<'t, M>,
    key: CacheKey,
    schedule: Schedule,
    step: usize,
}

impl<M: Mdp, L, S: Source<Mdp = M>> std::fmt::Debug for TrainingSteps<'_, M, L, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainingSteps")
            .field("step", &self.step)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

impl<M: Mdp, L: Learner<M>, S: Source<Mdp = M>> TrainingSteps<'_, M, L, S> {
    /// The policy after the steps so far.
    pub fn policy(&self) -> &L {
        self.policy
    }

    fn take(&mut self) -> Result<Learned, TrainError> {
        let Training { mdp, data, objective, .. } = *self.training;
        let ranks = self.training.ranks;
        let slices = batch(data, &self.settings, (self.step, ranks.size()))?;
        let at = StepAt::of(&self.settings, self.step, self.schedule);
        let measure = |slice: &Slice<M, S::Feedback>, scores: Scores<'_>| data.measure(slice, scores);
        let loss = Loss { objective, measure: &measure };
        let mut learned = learn_together(mdp, self.policy, &mut self.reference, loss, &slices, (at, ranks))?;
        learned.tokens = slices.iter().map(|slice| data.n_tokens(slice)).sum();
        learned.checked(self.step)
    }
}

impl<M: Mdp, L: Learner<M>, S: Source<Mdp = M>> Iterator for TrainingSteps<'_, M, L, S> {
    type Item = Result<Learned, TrainError>;

    /// Takes the next step; iteration ends after a failed one. The end writes the reference's numbers to the cache, if
    /// there is one.
    fn next(&mut self) -> Option<Self::Item> {
        if self.step >= self.schedule.total {
            let unwritten = std::mem::take(&mut self.reference.cache);
            let is_writer = self.training.ranks.is_leader() && !unwritten.is_empty();
            let path = self.training.cache.as_ref().filter(|_| is_writer)?;
            return unwritten.save(path, &self.key).err().map(Err);
        }
        let learned = self.take();
        self.step = if learned.is_ok() { self.step + 1 } else { self.schedule.total };
        Some(learned)
    }
}
