use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mdp::Mdp;
use objectives::{Objective, Scores};
use policies::{Learner, Persist, Policy};

use crate::evaluate::{EvalSettings, evaluate};
use crate::run::batch;
use crate::step::{Learned, Loss, Reference, Slice, StepAt, learn};
use crate::{
    CacheKey, Evaluated, Hooks, Monitor, Outcome, Problem, ReferenceCache, RunFolder, Schedule, Settings, Silent,
    Source, TrainError, run,
};

/// What is learned from what, and how: the trainer of a program of your own.
///
/// With a folder ([`run`](Self::run)) there are records, TensorBoard events, checkpoints and the policy in it, and a run
/// that was killed goes on where its newest checkpoint is. Without one ([`steps`](Self::steps)) it is an iterator.
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
    /// Learning from data by an objective, with default settings and no reference.
    pub fn new(mdp: &'a M, data: &'a S, objective: &'a dyn Objective<Feedback = S::Feedback>) -> Self {
        let key = CacheKey { model: String::new(), data: format!("{} examples", data.len()) };
        Self { mdp, data, objective, held_out: None, reference: None, settings: Settings::default(), key, cache: None }
    }

    /// The policy to stay close to.
    #[must_use]
    pub fn reference(self, reference: &'a dyn Policy<M>) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// Examples that a run evaluates on.
    #[must_use]
    pub fn held_out(self, data: &'a S) -> Self {
        Self { held_out: Some(data), ..self }
    }

    /// How to train.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// What the reference and the data are: a run in a folder is not resumed with others.
    #[must_use]
    pub fn key(self, key: CacheKey) -> Self {
        Self { key, ..self }
    }

    /// A file that the reference's numbers are read from where it exists and fits the key, else written to.
    #[must_use]
    pub fn cache(self, path: impl Into<PathBuf>) -> Self {
        Self { cache: Some(path.into()), ..self }
    }

    /// Trains in a folder, from where it stands to the end.
    ///
    /// # Errors
    /// Settings that make no sense, unreadable data, a loss that diverges, files that can't be written.
    pub fn run<L: Learner<M> + Persist>(
        &self,
        policy: &mut L,
        folder: impl AsRef<Path>,
    ) -> Result<Outcome, TrainError> {
        self.watched(policy, folder, &mut Silent, &AtomicBool::new(false))
    }

    /// The same, told to a monitor, and stopped with a checkpoint where `stop` is set.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn watched<L: Learner<M> + Persist>(
        &self,
        policy: &mut L,
        folder: impl AsRef<Path>,
        monitor: &mut dyn Monitor,
        stop: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        let settings = self.settings.clone().checked()?;
        let folder = RunFolder::at(folder.as_ref())?;
        let _lock = folder.lock()?;
        let problem = Problem {
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

    /// Trains without a folder: an iterator of steps, each done when it is asked for.
    ///
    /// # Errors
    /// Settings that make no sense, and no data.
    pub fn steps<'t, L: Learner<M>>(&'t self, policy: &'t mut L) -> Result<Steps<'t, M, L, S>, TrainError> {
        let settings = self.settings.clone().checked()?;
        if self.data.is_empty() {
            return Err(TrainError::Empty("training"));
        }
        let schedule = settings.schedule(self.data.len());
        let reference = Reference { policy: self.reference, cache: ReferenceCache::default() };
        Ok(Steps { training: self, settings, policy, reference, schedule, step: 0 })
    }

    /// What a policy shows on some examples; nothing learns.
    ///
    /// # Errors
    /// Unreadable data, and a policy that can't score it.
    pub fn evaluate<L: Learner<M>>(&self, policy: &L, data: &S) -> Result<Evaluated, TrainError> {
        let mut reference = Reference { policy: self.reference, cache: ReferenceCache::default() };
        let Settings { micro_batch_size, eval_examples: examples, seed, beta, .. } = self.settings;
        let look = EvalSettings { step: 0, micro_batch_size, examples, seed, beta };
        evaluate(self.mdp, policy, &mut reference, self.objective, data, &Hooks::default(), look)
    }
}

/// Steps of training, one after the other.
pub struct Steps<'t, M: Mdp, L, S: Source<Mdp = M>> {
    training: &'t Training<'t, M, S>,
    settings: Settings,
    policy: &'t mut L,
    reference: Reference<'t, M>,
    schedule: Schedule,
    step: usize,
}

impl<M: Mdp, L, S: Source<Mdp = M>> std::fmt::Debug for Steps<'_, M, L, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("step", &self.step).field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

impl<M: Mdp, L: Learner<M>, S: Source<Mdp = M>> Steps<'_, M, L, S> {
    /// The policy as it is after the steps so far.
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

impl<M: Mdp, L: Learner<M>, S: Source<Mdp = M>> Iterator for Steps<'_, M, L, S> {
    type Item = Result<Learned, TrainError>;

    /// The next step; a failed one is the last.
    fn next(&mut self) -> Option<Self::Item> {
        if self.step >= self.schedule.total {
            return None;
        }
        let learned = self.take();
        self.step = if learned.is_ok() { self.step + 1 } else { self.schedule.total };
        Some(learned)
    }
}
