//! One trainer for every kind of problem.
use std::path::Path;
use std::sync::Arc;

use ::train::tensorboard::Hyperparameter;
use ::train::{CacheKey, Ending, Hooks, Observers, ReferenceCache, RunFolder, RunSummary, Source, Training, can_write};
use candle_core::DType;
use mdp::Mdp;
use models::ModelError;
use objectives::{Needs, Objective};
use policies::{Learner, Persist, Policy};

use super::judged::{Answers, StartComparison};
use super::resume::Extension;
use super::{Purpose, Task, finished_before, precompute, resume};
use crate::device;
use crate::embedded::JudgedPolicy;
use crate::keys::{self, TRAIN};
use crate::settings::SaveDtype;
use crate::trained::{Suggestion, Trained, TrainingStatus};
use crate::{Failure, Reporter, model};

/// A kind of problem with the reference and data of a run: what its training does not share with other kinds.
pub(super) trait Problem {
    type Mdp: Mdp;
    type Learner: Learner<Self::Mdp> + Persist;

    /// The frozen policy beside which the learner learns.
    fn reference(&self) -> &dyn Policy<Self::Mdp>;

    /// Whether the learner is compared with the reference, by a loss with these needs.
    fn is_compared(&self, needs: Needs) -> bool {
        needs.reference
    }

    /// The additions to evaluations.
    fn hooks(&self) -> Hooks<'_, Self::Mdp, Self::Learner>;

    /// Draws a policy's answer to each prompt on which it is compared with the start, from the same random streams whatever the
    /// policy is.
    fn answers(&self, learner: &Self::Learner) -> Result<Answers, Failure>;

    /// Reports what training came upon, also where it was stopped.
    fn report(&self, _reporter: &dyn Reporter) {}

    /// Judges the policy after its last step.
    fn judge<S: Source<Mdp = Self::Mdp>>(&self, learned: &Learned<'_, Self, S>) -> Result<TrainerResult, Failure>;
}

/// The examples of a run and its loss.
pub(super) struct Lessons<'l, S: Source> {
    pub(super) mdp: &'l S::Mdp,
    pub(super) data: &'l S,
    pub(super) held_out: Option<&'l S>,
    pub(super) objective: &'l dyn Objective<Feedback = S::Feedback>,
    /// The key of the reference cache.
    pub(super) key: CacheKey,
}

/// A learner after its last step.
pub(super) struct Learned<'l, P: Problem + ?Sized, S: Source<Mdp = P::Mdp>> {
    pub(super) task: &'l Task<'l>,
    pub(super) training: &'l Training<'l, P::Mdp, S>,
    pub(super) hooks: &'l Hooks<'l, P::Mdp, P::Learner>,
    pub(super) learner: &'l P::Learner,
    pub(super) outcome: &'l RunSummary,
    pub(super) folder: &'l RunFolder,
}

/// What became of a learner.
pub(super) enum TrainerResult {
    Finished {
        /// The metrics as a printable table.
        table: String,
        /// The policies that an oracle compared.
        judged: Vec<JudgedPolicy>,
        /// Whether the run's folder holds pictures.
        has_pictures: bool,
        suggestion: Suggestion,
    },
    /// Another training for the comparison was stopped.
    Stopped(Box<RunSummary>),
}

/// Trains a learner in the task's folder, and judges it.
pub(super) fn run<P: Problem, S: Source<Mdp = P::Mdp>>(
    task: &mut Task<'_>,
    problem: &P,
    learner: &mut P::Learner,
    mut lessons: Lessons<'_, S>,
) -> Result<Trained, Failure> {
    lessons.key.model = device::named(&lessons.key.model, &task.call.values);
    task.check_cache(&lessons.key)?;
    if task.purpose != Purpose::Precompute {
        task.fit_warmup(lessons.data.len());
    }
    let training = trainer(task, problem, lessons);
    if let Some(done) = task.without_a_run(&training, learner)? {
        return Ok(done);
    }
    task.describe(&training, learner)?;
    let folder = task.folder()?;
    if !task.call.reporter.ranks().is_leader() {
        return task.follow(&folder, &training, learner, &problem.hooks());
    }
    let _lock = folder.lock()?;
    let comparison = StartComparison::of(task, &folder);
    let mut hooks = problem.hooks();
    if let Some(comparison) = &comparison {
        hooks.judge = Some(Box::new(|learner, step| comparison.metrics(step, || problem.answers(learner))));
    }
    let outcome = task.learn_in(&folder, &training, learner, &hooks)?;
    problem.report(task.call.reporter);
    if outcome.ending == Ending::Interrupted {
        return Ok(Trained::interrupted(&folder, outcome));
    }
    // Other trainings for the comparison are none of the run's own policy against its start.
    let (plain, alone) = (problem.hooks(), training.alone());
    let learned = Learned { task, training: &alone, hooks: &plain, learner, outcome: &outcome, folder: &folder };
    match problem.judge(&learned)? {
        TrainerResult::Stopped(other) => Ok(Trained::interrupted(&folder, *other)),
        TrainerResult::Finished { table, judged, has_pictures, suggestion } => Ok(Trained {
            folder: folder.path().to_owned(),
            status: TrainingStatus::Finished,
            table,
            judged,
            rounded: task.rounded(),
            pictures: has_pictures.then_some((0, outcome.steps)),
            suggestion: Some(suggestion),
            outcome: Some(outcome),
        }),
    }
}

/// The trainer of a run's lessons.
fn trainer<'l, P: Problem, S: Source<Mdp = P::Mdp>>(
    task: &Task<'l>,
    problem: &'l P,
    Lessons { mdp, data, held_out, objective, key }: Lessons<'l, S>,
) -> Training<'l, P::Mdp, S> {
    let training = Training::new(mdp, data, objective).held_out(held_out).settings(task.settings.clone()).key(key);
    let training = training.cache(task.cache().map(Path::to_owned)).hyperparameters(task.hyperparameters());
    let training = training.ranks(task.call.reporter.ranks());
    if problem.is_compared(objective.needs()) { training.reference(problem.reference()) } else { training }
}

impl Task<'_> {
    /// The type of the written weights where it is shorter than that of training and nobody asked for it.
    fn rounded(&self) -> Option<&'static str> {
        let is_asked = self.call.values.model.save_dtype() != SaveDtype::Auto;
        (!is_asked && self.usual != DType::F32).then(|| model::dtype_name(self.usual))
    }

    /// The file of the reference's numbers.
    fn cache(&self) -> Option<&Path> {
        self.call.values.train.reference_cache().map(Path::new)
    }

    /// Refuses a reference cache with another key or an unwritable path, before a folder is made.
    fn check_cache(&self, key: &CacheKey) -> Result<(), Failure> {
        match self.cache() {
            Some(path) if path.exists() && self.resume.is_none() => drop(ReferenceCache::load(path, key)?),
            Some(path) if self.call.reporter.ranks().is_leader() => can_write(path)?,
            Some(_) | None => {}
        }
        Ok(())
    }

    /// The settings for tables of hyperparameters.
    fn hyperparameters(&self) -> Vec<(String, Hyperparameter)> {
        keys::hyperparameters(&self.call.values, TRAIN)
    }

    /// What is done without a run: the reference's numbers, a plan, nothing of a run that has finished. `None` where a run
    /// follows, whose start is said.
    fn without_a_run<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
        &mut self,
        training: &Training<'_, M, S>,
        learner: &mut L,
    ) -> Result<Option<Trained>, Failure> {
        let finished = self.finished_before(training.examples())?;
        if finished.is_some() {
            return Ok(finished);
        }
        if self.purpose == Purpose::Precompute {
            return precompute::fill(self, training).map(Some);
        }
        self.say_start(training.examples())?;
        match self.purpose {
            Purpose::Plan => self.planned(training, learner).map(Some),
            Purpose::Train | Purpose::Round | Purpose::Precompute => Ok(None),
        }
    }

    /// The end of a run that has finished and does not get longer by the length that is given.
    fn finished_before(&mut self, examples: usize) -> Result<Option<Trained>, Failure> {
        let (Some(path), Some(extension)) = (&self.resume, self.extension) else { return Ok(None) };
        if extension.changes(&self.settings, examples) {
            let early = crate::report::finished(path)?.filter(|finished| finished.is_early);
            return match early {
                Some(finished) => Err(Failure::usage(format!(
                    "early stopping ended {} after step {} (`train.early_stopping_patience`): more steps change nothing",
                    path.display(),
                    finished.steps
                ))),
                None => Ok(None),
            };
        }
        self.extension = None;
        finished_before(path)
    }

    /// Says how a resumed run goes on, and what changes if it gets longer.
    fn say_start(&self, examples: usize) -> Result<(), Failure> {
        let Some(path) = &self.resume else { return Ok(()) };
        let folder = RunFolder::open(path)?;
        let done = folder.checkpoints()?.pop().unwrap_or(0);
        if self.extension.is_some() {
            Extension::check((&self.settings, examples), done)?;
        }
        resume::say_start(&folder, self.call.reporter)?;
        if let Some(extension) = self.extension {
            extension.say((&self.settings, examples), done, self.call.reporter);
        }
        Ok(())
    }

    /// Trains in the leader's folder with it, as a process that does not lead: the result is the leader's to say.
    fn follow<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
        &self,
        folder: &RunFolder,
        training: &Training<'_, M, S>,
        learner: &mut L,
        hooks: &Hooks<'_, M, L>,
    ) -> Result<Trained, Failure> {
        let outcome = self.learn_in(folder, training, learner, hooks)?;
        Ok(match outcome.ending {
            Ending::Interrupted => Trained::interrupted(folder, outcome),
            Ending::Done | Ending::StoppedEarly => {
                Trained { outcome: Some(outcome), ..Trained::of(folder.path(), TrainingStatus::Finished) }
            }
        })
    }

    /// Trains in a given folder.
    pub(super) fn learn_in<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
        &self,
        folder: &RunFolder,
        training: &Training<'_, M, S>,
        learner: &mut L,
        hooks: &Hooks<'_, M, L>,
    ) -> Result<RunSummary, Failure> {
        let reporter = self.call.reporter;
        let mut monitor = reporter.monitor();
        let observers =
            Observers { hooks: Some(hooks), stop: Some(reporter.stop()), ..Observers::monitor(&mut *monitor) };
        Ok(training.run_in(learner, folder, observers)?)
    }
}

/// Makes a learner and its frozen reference: the named model or, without a name, the one that training starts from. Where
/// the learner continues an adapter, that is a copy of it.
pub(super) fn with_reference<F, L>(
    files: F,
    (named, continues_adapter): (Option<&str>, bool),
    frozen: impl FnOnce(&F, Option<&str>) -> Result<L, Failure>,
    learner: impl FnOnce(F) -> Result<L, Failure>,
    copy: impl FnOnce(&L) -> Result<L, ModelError>,
) -> Result<(L, Arc<L>), Failure> {
    let reference = if named.is_some() || !continues_adapter { Some(frozen(&files, named)?) } else { None };
    let learner = learner(files)?;
    let reference = reference.map_or_else(|| copy(&learner), Ok)?;
    Ok((learner, Arc::new(reference)))
}
