use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mdp::Mdp;
use objectives::{Objective, Scores};
use policies::{Learner, Persist, Policy};

use crate::evaluate::{EvalSettings, evaluate};
use crate::run::batch;
use crate::step::{Learned, Loss, Reference, Slice, StepAt, learn};
use crate::{
    CacheKey, Evaluated, Hooks, Monitor, ReferenceCache, RunFolder, RunInputs, RunSummary, Schedule, Settings, Silent,
    Source, TrainError, run,
};

/// The trainer for your own program: data, objective, reference and settings.
///
/// With a folder ([`run`](Self::run)) it writes records, TensorBoard events, checkpoints and the policy, and a killed
/// run continues from its newest checkpoint. Without one ([`steps`](Self::steps)) it is an iterator.
pub struct Training<'a, M: Mdp, S: Source<Mdp = M>> {
    mdp: &'a M,
    data: &'a S,
    objective: &'a dyn Objective<Feedback = S::Feedback>,
    held_out: Option<&'a S>,
    reference: Option<&'a dyn Policy<M>>,
    settings: Settings,
    key: CacheKey,
    cache: Option<PathBuf>,
}

impl<M: Mdp, S: Source<Mdp = M>> std::fmt::Debug for Training<'_, M, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Training").field("examples", &self.data.len()).field("settings", &self.settings).finish()
    }
}

impl<'a, M: Mdp, S: Source<Mdp = M>> Training<'a, M, S> {
    /// Creates a trainer with default settings and no reference.
    pub fn new(mdp: &'a M, data: &'a S, objective: &'a dyn Objective<Feedback = S::Feedback>) -> Self {
        let key = CacheKey { model: String::new(), data: format!("{} examples", data.len()) };
        Self { mdp, data, objective, held_out: None, reference: None, settings: Settings::default(), key, cache: None }
    }

    /// Sets the reference policy.
    #[must_use]
    pub fn reference(self, reference: &'a dyn Policy<M>) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// Sets the held-out examples for evaluation.
    #[must_use]
    pub fn held_out(self, data: &'a S) -> Self {
        Self { held_out: Some(data), ..self }
    }

    /// Sets the training settings.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Sets the identity of reference and data; a run in a folder is not resumed with others.
    #[must_use]
    pub fn key(self, key: CacheKey) -> Self {
        Self { key, ..self }
    }

    /// Sets the file of the reference's numbers: read if it exists and matches the key, else written.
    #[must_use]
    pub fn cache(self, path: impl Into<PathBuf>) -> Self {
        Self { cache: Some(path.into()), ..self }
    }

    /// Trains in a folder, from its state to the end.
    ///
    /// # Errors
    /// Invalid settings, unreadable data, a diverging loss, files that can't be written.
    pub fn run<L: Learner<M> + Persist>(
        &self,
        policy: &mut L,
        folder: impl AsRef<Path>,
    ) -> Result<RunSummary, TrainError> {
        self.watched(policy, folder, &mut Silent, &AtomicBool::new(false))
    }

    /// As [`run`](Self::run), with a monitor, and stopped with a checkpoint when `stop` is set.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn watched<L: Learner<M> + Persist>(
        &self,
        policy: &mut L,
        folder: impl AsRef<Path>,
        monitor: &mut dyn Monitor,
        stop: &AtomicBool,
    ) -> Result<RunSummary, TrainError> {
        let settings = self.settings.clone().checked()?;
        let folder = RunFolder::at(folder.as_ref())?;
        let _lock = folder.lock()?;
        let problem = RunInputs {
            mdp: self.mdp,
            data: self.data,
            held_out: self.held_out,
            reference: self.reference,
            objective: self.objective,
            key: self.key.clone(),
            cache: self.cache.clone(),
        };
        run(&problem, policy, &settings, &folder, &Hooks::default(), monitor, stop)
    }

    /// Trains without a folder: a lazy iterator of steps.
    ///
    /// # Errors
    /// Invalid settings or empty data.
    pub fn steps<'t, L: Learner<M>>(&'t self, policy: &'t mut L) -> Result<TrainingSteps<'t, M, L, S>, TrainError> {
        let settings = self.settings.clone().checked()?;
        if self.data.is_empty() {
            return Err(TrainError::Empty("training"));
        }
        let schedule = settings.schedule(self.data.len());
        let reference = Reference { policy: self.reference, cache: ReferenceCache::default() };
        Ok(TrainingSteps { training: self, settings, policy, reference, schedule, step: 0 })
    }

    /// Evaluates a policy on examples without training.
    ///
    /// # Errors
    /// Unreadable data, or a policy that can't score it.
    pub fn evaluate<L: Learner<M>>(&self, policy: &L, data: &S) -> Result<Evaluated, TrainError> {
        let mut reference = Reference { policy: self.reference, cache: ReferenceCache::default() };
        let Settings { micro_batch_size, eval_examples: examples, seed, beta, .. } = self.settings;
        let look = EvalSettings { step: 0, micro_batch_size, examples, seed, beta };
        evaluate(self.mdp, policy, &mut reference, self.objective, data, &Hooks::default(), look)
    }
}

/// An iterator of training steps.
pub struct TrainingSteps<'t, M: Mdp, L, S: Source<Mdp = M>> {
    training: &'t Training<'t, M, S>,
    settings: Settings,
    policy: &'t mut L,
    reference: Reference<'t, M>,
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
        let slices = batch(data, &self.settings, self.step)?;
        let max_gradient_norm = self.settings.max_gradient_norm;
        let at = StepAt { step: self.step, rate: self.schedule.at(self.step), max_gradient_norm };
        let measure = |slice: &Slice<M, S::Feedback>, scores: Scores<'_>| data.measure(slice, scores);
        let loss = Loss { objective, measure: &measure };
        let mut learned = learn(mdp, self.policy, &mut self.reference, loss, &slices, at)?;
        learned.tokens = slices.iter().map(|slice| data.n_tokens(slice)).sum();
        learned.checked(self.step)
    }
}

impl<M: Mdp, L: Learner<M>, S: Source<Mdp = M>> Iterator for TrainingSteps<'_, M, L, S> {
    type Item = Result<Learned, TrainError>;

    /// Takes the next step; iteration ends after a failed one.
    fn next(&mut self) -> Option<Self::Item> {
        if self.step >= self.schedule.total {
            return None;
        }
        let learned = self.take();
        self.step = if learned.is_ok() { self.step + 1 } else { self.schedule.total };
        Some(learned)
    }
}
