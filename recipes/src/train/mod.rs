//! `train`.
mod diffusion;
mod hybrid;
mod image_presets;
mod rounds;
mod token;
mod token_rewards;

use std::path::{Path, PathBuf};

use ::train::{
    CacheKey, Ending, Hooks, Observers, ReferenceCache, RunFolder, RunSummary, Settings, Source, TrainError, Training,
    can_write, write_whole,
};
use mdp::Mdp;
use objectives::Objective;
use policies::{Learner, Persist, Policy};

use crate::embedded::{JudgedPolicy, PROMPTS};
use crate::keys::{self, TRAIN};
use crate::objective::{self, choose};
use crate::settings::{Modality, Values, at};
use crate::{Call, Failure, model, report};

/// Trains, or resumes training.
///
/// `resume` names the folder of a stopped run, which holds its settings.
///
/// # Errors
/// Invalid settings or settings that nothing reads, files that can't be read or written, a diverging loss.
pub fn train(call: Call<'_>, resume: Option<&Path>) -> Result<Trained, Failure> {
    train_judged(call, resume, PROMPTS)
}

/// As [`train`](train()), with another number of test prompts for the oracle of an embedded problem; 0 does without it.
///
/// # Errors
/// As [`train`](train()).
pub fn train_judged(mut call: Call<'_>, resume: Option<&Path>, prompts: u64) -> Result<Trained, Failure> {
    if let Some(path) = resume {
        load_resumed(&mut call.values, path)?;
    }
    let mdp = call.values.run.mdp();
    match mdp {
        Modality::Diffusion => image_presets::presets(&mut call.values)?,
        Modality::Hybrid => hybrid::presets(&mut call.values)?,
        Modality::Token => token::presets(&mut call.values)?,
    }
    decide_length(&mut call.values);
    keys::idle::refuse(&call.values, TRAIN)?;
    if call.values.rounds.rounds().is_some_and(|rounds| rounds > 0) {
        return rounds::train(call, resume);
    }
    if call.values.rounds.rounds() == Some(0) {
        return Err(Failure::usage("`rounds.rounds` takes at least 1"));
    }
    one(call, resume.map(Path::to_owned), prompts)
}

/// Makes `train.max_steps` alone determine the length of a run: default epochs do not end it earlier.
fn decide_length(values: &mut Values) {
    if values.train.max_steps.is_some() && !values.is_given(&at::train::epochs) {
        values.set(|settings| settings.train.epochs = None);
    }
}

/// One run with final settings.
fn one(call: Call<'_>, resume: Option<PathBuf>, prompts: u64) -> Result<Trained, Failure> {
    let mdp = call.values.run.mdp();
    let objective = if mdp == Modality::Hybrid { hybrid::objective(&call.values)? } else { choose(&call.values)? };
    let settings = settings(&call.values)?;
    model::optimizer(&call.values)?;
    let (reporter, task) = (call.reporter, Task { call, settings, resume, prompts, kept: Vec::new() });
    let trained = match mdp {
        Modality::Diffusion => diffusion::train(task, objective),
        Modality::Hybrid => hybrid::train(task, objective),
        Modality::Token => token::train(task, objective),
    }?;
    report::of_trained(&trained, reporter);
    reporter.trained(&trained);
    Ok(trained)
}

/// The result of a training run.
#[derive(Debug)]
pub struct Trained {
    /// Its folder; for rounds the folder of all rounds.
    pub folder: PathBuf,
    /// Its status at the end.
    pub status: TrainingStatus,
    /// The summary of the run; `None` for rounds, each of which is a run.
    pub outcome: Option<RunSummary>,
    /// The metrics of a finished run as a printable table.
    pub table: String,
    /// The policies that the oracle of an embedded problem compared, the start first; empty without a comparison.
    pub judged: Vec<JudgedPolicy>,
    /// The first and the last step with pictures in the folder's `samples`.
    pub pictures: Option<(usize, usize)>,
    /// The suggested next verb.
    pub suggestion: Option<Suggestion>,
}

/// The status of training at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainingStatus {
    /// All steps are done.
    Finished,
    /// All rounds are done.
    RoundsFinished {
        /// The folder of the last run.
        last: PathBuf,
    },
    /// It was stopped and can be resumed.
    Interrupted {
        /// The number of finished steps of a single run.
        after: Option<usize>,
    },
    /// A round waits for human judgements of its pairs.
    AwaitingLabels {
        /// The round.
        round: usize,
        /// The folder of its pairs.
        pairs: PathBuf,
    },
}

/// A suggested next verb after a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suggestion {
    /// Sample answers or pictures.
    Sample {
        /// The kind of problem.
        mdp: Modality,
        /// The prompts to sample for.
        prompts: String,
    },
    /// Score beside the starting model.
    Score {
        /// The starting model.
        reference: String,
        /// The data: the setting's path, and its value.
        data: (&'static str, String),
    },
}

impl Trained {
    /// A stopped run.
    fn interrupted(folder: &RunFolder, outcome: RunSummary) -> Self {
        let status = TrainingStatus::Interrupted { after: Some(outcome.steps) };
        let (folder, outcome) = (folder.path().to_owned(), Some(outcome));
        Self { folder, status, outcome, table: String::new(), judged: Vec::new(), pictures: None, suggestion: None }
    }
}

/// A training run with final settings.
struct Task<'a> {
    call: Call<'a>,
    settings: Settings,
    resume: Option<PathBuf>,
    /// Files that were made of the data, by name: they stay in the run's folder.
    kept: Vec<(&'static str, String)>,
    /// Test prompts of the oracle; 0 for no comparison.
    prompts: u64,
}

impl Task<'_> {
    /// The folder of a new run with its settings written, or that of the resumed run.
    fn folder(&mut self) -> Result<RunFolder, Failure> {
        let values = &mut self.call.values;
        if let Some(path) = &self.resume {
            let folder = RunFolder::open(path)?;
            keep(&folder, &self.kept)?;
            values.set(|settings| settings.run.out = Some(path.display().to_string()));
            return Ok(folder);
        }
        let path = match values.run.out() {
            Some(path) => PathBuf::from(path),
            None => fresh_folder(values.objective.name().word()),
        };
        let folder = RunFolder::create(&path)?;
        keep(&folder, &self.kept)?;
        values.set(|settings| settings.run.out = Some(path.display().to_string()));
        let config = keys::to_toml(values, TRAIN);
        write_whole(&folder.join("config.toml"), |file| std::io::Write::write_all(file, config.as_bytes()))?;
        Ok(folder)
    }
}

/// Writes files into a run's folder, unless they are there.
fn keep(folder: &RunFolder, files: &[(&'static str, String)]) -> Result<(), Failure> {
    for (name, text) in files {
        let path = folder.join(name);
        if !path.exists() {
            write_whole(&path, |file| std::io::Write::write_all(file, text.as_bytes()))?;
        }
    }
    Ok(())
}

/// A trained run and its folder, which stays locked.
struct FinishedRun {
    outcome: RunSummary,
    folder: RunFolder,
    _lock: std::fs::File,
}

impl FinishedRun {
    fn is_interrupted(&self) -> bool {
        self.outcome.ending == Ending::Interrupted
    }

    fn interrupted(self) -> Trained {
        Trained::interrupted(&self.folder, self.outcome)
    }

    /// The result of a run with all its steps done.
    fn finished(self, table: String, has_pictures: bool, suggestion: Suggestion) -> Trained {
        Trained {
            folder: self.folder.path().to_owned(),
            status: TrainingStatus::Finished,
            table,
            judged: Vec::new(),
            pictures: has_pictures.then_some((0, self.outcome.steps)),
            suggestion: Some(suggestion),
            outcome: Some(self.outcome),
        }
    }
}

impl Task<'_> {
    /// Refuses a reference cache with another key or an unwritable path, before a folder is made.
    fn check_cache(&self, key: &CacheKey) -> Result<(), Failure> {
        match self.call.values.train.reference_cache().map(Path::new) {
            Some(path) if path.exists() && self.resume.is_none() => drop(ReferenceCache::load(path, key)?),
            Some(path) => can_write(path)?,
            None => {}
        }
        Ok(())
    }

    /// Trains in the run's folder; the same code for every kind of problem.
    fn learn<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
        &mut self,
        training: &Training<'_, M, S>,
        learner: &mut L,
        hooks: &Hooks<'_, M, L>,
    ) -> Result<FinishedRun, Failure> {
        let folder = self.folder()?;
        let lock = folder.lock()?;
        let outcome = self.learn_in(&folder, training, learner, hooks)?;
        Ok(FinishedRun { outcome, folder, _lock: lock })
    }

    /// Trains in a given folder.
    fn learn_in<M: Mdp, L: Learner<M> + Persist, S: Source<Mdp = M>>(
        &self,
        folder: &RunFolder,
        training: &Training<'_, M, S>,
        learner: &mut L,
        hooks: &Hooks<'_, M, L>,
    ) -> Result<RunSummary, Failure> {
        let reporter = self.call.reporter;
        let observers =
            Observers { monitor: &mut *reporter.monitor(), hooks: Some(hooks), stop: Some(reporter.stop()) };
        Ok(training.run_in(learner, folder, observers)?)
    }

    /// The trainer of a run, with the settings and the cache of the task.
    fn training<'t, M: Mdp, S: Source<Mdp = M>>(
        &self,
        (mdp, data, objective): (&'t M, &'t S, &'t dyn Objective<Feedback = S::Feedback>),
        reference: Option<&'t dyn Policy<M>>,
        key: CacheKey,
    ) -> Training<'t, M, S> {
        let cache = self.call.values.train.reference_cache().map(PathBuf::from);
        let training = Training::new(mdp, data, objective).settings(self.settings.clone()).key(key).cache(cache);
        reference.into_iter().fold(training, Training::reference)
    }
}

/// Opens the folder of a run of this crate: one with its settings.
///
/// # Errors
/// It is not one.
pub(crate) fn open_run(path: &Path) -> Result<RunFolder, TrainError> {
    if path.is_dir() && !(path.join("config.toml").is_file() && path.join("checkpoints").is_dir()) {
        return Err(TrainError::NotARun { path: path.to_owned(), lacks: "config.toml and checkpoints/" });
    }
    RunFolder::open(path)
}

/// Loads the settings with which a resumed run was started.
fn load_resumed(values: &mut Values, path: &Path) -> Result<(), Failure> {
    if let Some(key) =
        keys::all().find(|key| values.is_given(key.field) && ![&at::run::device, &at::run::mdp].contains(&key.field))
    {
        let text = format!("{} can't be given with `resume`: the run goes on with the settings it has", key.field);
        return Err(Failure::usage(text));
    }
    open_run(path)?;
    values.merge_file(&path.join("config.toml"))?;
    Ok(())
}

fn settings(values: &Values) -> Result<Settings, Failure> {
    let settings = Settings {
        seed: values.run.seed(),
        batch_size: values.train.batch_size(),
        micro_batch_size: values.train.micro_batch_size(),
        epochs: values.train.epochs(),
        max_steps: values.train.max_steps(),
        rate: values.optimizer.lr(),
        warmup_steps: values.optimizer.warmup_steps(),
        decay: values.optimizer.schedule(),
        max_gradient_norm: Some(values.optimizer.max_grad_norm()),
        eval_every: values.train.eval_every(),
        eval_examples: values.train.eval_examples(),
        save_every: values.train.save_every(),
        keep_checkpoints: values.train.keep_checkpoints(),
        beta: objective::beta(values),
    };
    settings.checked().map_err(|error| Failure::usage(error.to_string()))
}

/// `runs/OBJECTIVE-N` with the first free N.
fn fresh_folder(objective: &str) -> PathBuf {
    (1..100_000)
        .map(|n| PathBuf::from(format!("runs/{objective}-{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| PathBuf::from("runs/last"))
}
