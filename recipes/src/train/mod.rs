//! `train`.
mod best;
mod diffusion;
mod hybrid;
mod image_presets;
mod judged;
#[cfg(test)]
mod judged_tests;
mod own_part;
mod plan;
mod precompute;
mod resume;
mod rounds;
mod token;
mod token_rewards;
mod trainer;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use ::train::{RunFolder, Settings, TrainError, write_whole};
use candle_core::DType;

use self::resume::Extension;
use crate::device;
use crate::embedded::PROMPTS;
use crate::keys::{self, PRECOMPUTE, TRAIN};
use crate::objective::{self, choose};
use crate::settings::{Modality, TrainingSettings, Values, at};
use crate::trained::{Trained, TrainingStatus};
use crate::{Call, Failure, card, model, named, report};

/// Trains, or resumes training.
///
/// `resume` names the folder of a stopped run, which holds its settings; with another `train.epochs` or
/// `train.max_steps` it becomes longer. A run that has finished stays as it is.
///
/// # Errors
/// Invalid settings or settings that nothing reads, files that can't be read or written, a diverging loss.
pub fn train(call: Call<'_, impl TrainingSettings>, resume: Option<&Path>) -> Result<Trained, Failure> {
    resumed(call.untyped(), Purpose::Train, resume, PROMPTS)
}

/// Returns the plan of a training run, with the time and the memory of a first step that is tried and discarded. Nothing
/// is written.
///
/// # Errors
/// As [`train`](train()).
pub fn plan(call: Call<'_, impl TrainingSettings>, resume: Option<&Path>) -> Result<Trained, Failure> {
    resumed(call.untyped(), Purpose::Plan, resume, 0)
}

/// Computes the reference's numbers of all training examples, as the run with these settings reads them, and writes them
/// to `train.reference_cache`.
///
/// # Errors
/// As [`train`](train()); also no `train.reference_cache`, and a loss that reads no reference.
pub fn precompute(call: Call<'_, impl TrainingSettings>) -> Result<Trained, Failure> {
    let call = call.untyped();
    precompute::check(&call.values, call.reporter)?;
    start(call, Purpose::Precompute, (None, None), 0)
}

/// As [`train`](train()), with another number of test prompts for the oracle of an embedded problem; 0 does without it.
///
/// # Errors
/// As [`train`](train()).
pub fn train_judged(
    call: Call<'_, impl TrainingSettings>,
    resume: Option<&Path>,
    prompts: u64,
) -> Result<Trained, Failure> {
    resumed(call.untyped(), Purpose::Train, resume, prompts)
}

/// Starts a run, or takes one up with the settings it has. One that has finished stays as it is.
fn resumed(mut call: Call<'_>, purpose: Purpose, resume: Option<&Path>, prompts: u64) -> Result<Trained, Failure> {
    let extension = resume.map(|path| resume::load(&mut call.values, path)).transpose()?.flatten();
    if let (Some(path), None) = (resume, extension)
        && let Some(finished) = finished_before(path)?
    {
        call.reporter.trained(&finished);
        return Ok(finished);
    }
    start(call, purpose, (resume, extension), prompts)
}

/// What a run that has finished has said at its end; `None` of a run that has not.
fn finished_before(path: &Path) -> Result<Option<Trained>, Failure> {
    let finished = report::finished(path)?;
    Ok(finished.map(|finished| Trained {
        table: finished.table,
        ..Trained::of(path, TrainingStatus::FinishedBefore { steps: finished.steps, is_early: finished.is_early })
    }))
}

/// Completes the settings and starts a run or rounds.
fn start(
    mut call: Call<'_>,
    purpose: Purpose,
    (resume, extension): (Option<&Path>, Option<Extension>),
    prompts: u64,
) -> Result<Trained, Failure> {
    // Before anything is downloaded.
    let ranks = call.reporter.ranks();
    if let (Purpose::Train, None, Some(out), true) = (purpose, resume, call.values.run.out(), ranks.is_leader()) {
        RunFolder::check_free(Path::new(out))?;
    }
    named::find(&mut call.values, if purpose == Purpose::Precompute { PRECOMPUTE } else { TRAIN }, call.reporter)?;
    preset(&mut call.values)?;
    keys::idle::refuse(&call.values, TRAIN)?;
    if purpose != Purpose::Precompute {
        best::check(&call.values)?;
    }
    own_part::take(&mut call.values, call.reporter);
    if call.values.rounds.rounds().is_some() && purpose != Purpose::Train {
        return Err(Failure::usage(
            "`rounds.rounds` make their pairs as they go, so nothing can be said or computed before",
        ));
    }
    if call.values.rounds.rounds().is_some_and(|rounds| rounds > 0) {
        return rounds::train(call, resume);
    }
    if call.values.rounds.rounds() == Some(0) {
        return Err(Failure::usage("`rounds.rounds` takes at least 1"));
    }
    one(call, purpose, (resume.map(Path::to_owned), extension), prompts)
}

/// Sets the defaults of a run: those of its problem, its loss and its preset.
///
/// # Errors
/// Settings contradict each other.
pub(crate) fn preset(values: &mut Values) -> Result<(), Failure> {
    objective::lead(values)?;
    match values.run.mdp() {
        Modality::Diffusion => image_presets::presets(values)?,
        Modality::Hybrid => hybrid::presets(values)?,
        Modality::Token => token::presets(values)?,
    }
    decide_length(values);
    device::decide(values);
    Ok(())
}

/// Makes `train.max_steps` alone determine the length of a run: default epochs do not end it earlier.
fn decide_length(values: &mut Values) {
    if values.train.max_steps.is_some() && !values.is_given(&at::train::epochs) {
        values.set(|settings| settings.train.epochs = None);
    }
}

/// One run with final settings.
fn one(
    call: Call<'_>,
    purpose: Purpose,
    (resume, extension): (Option<PathBuf>, Option<Extension>),
    prompts: u64,
) -> Result<Trained, Failure> {
    let mdp = call.values.run.mdp();
    let objective = if mdp == Modality::Hybrid { hybrid::objective(&call.values)? } else { choose(&call.values)? };
    let settings = settings(&call.values)?;
    judged::StartComparison::check(&call.values)?;
    model::optimizer(&call.values)?;
    let (reporter, task) = (
        call.reporter,
        Task {
            call,
            purpose,
            settings,
            resume,
            extension,
            prompts,
            size: None,
            sources: Vec::new(),
            usual: DType::F32,
            beta: OnceCell::new(),
            kept: Vec::new(),
        },
    );
    let mut trained = match mdp {
        Modality::Diffusion => diffusion::train(task, objective),
        Modality::Hybrid => hybrid::train(task, objective),
        Modality::Token => token::train(task, objective),
    }?;
    let is_new = !matches!(trained.status, TrainingStatus::FinishedBefore { .. });
    if is_new && reporter.ranks().is_leader() && matches!(purpose, Purpose::Train | Purpose::Round) {
        card::of_trained(&trained, reporter);
        report::of_trained(&trained, reporter);
    }
    if purpose == Purpose::Round {
        trained.suggestion = None;
    }
    reporter.trained(&trained);
    Ok(trained)
}

/// What is done with data, models and loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A run.
    Train,
    /// A run of a round, after which the rounds go on.
    Round,
    /// The plan of a run, for a look.
    Plan,
    /// The reference's numbers, for later runs.
    Precompute,
}

/// A training run with final settings.
struct Task<'a> {
    call: Call<'a>,
    purpose: Purpose,
    settings: Settings,
    resume: Option<PathBuf>,
    /// The length before, if the resumed run gets longer.
    extension: Option<Extension>,
    /// The size of all examples, where it is known; else the plan of a run takes it from a few.
    size: Option<usize>,
    /// Of several sources: what an epoch has of each.
    sources: Vec<String>,
    /// The type of the written model's weights unless the settings name one.
    usual: DType,
    /// What beta multiplies, where it is more than a nat of log-ratio.
    beta: OnceCell<String>,
    /// Files that were made of the data, by name: they stay in the run's folder.
    kept: Vec<(&'static str, String)>,
    /// Test prompts of the oracle; 0 for no comparison.
    prompts: u64,
}

impl Task<'_> {
    /// The folder of the run, which the leader of several processes has opened for all.
    fn folder(&mut self) -> Result<RunFolder, Failure> {
        let ranks = self.call.reporter.ranks();
        // All have read the settings and the folder that is taken up, which the leader changes now.
        ranks.barrier();
        if ranks.is_leader() {
            let opened = self.own_folder();
            // The others learn where it is, or by an empty path that there is none.
            let path = opened.as_ref().map_or_else(|_| String::new(), |folder| folder.path().display().to_string());
            ranks.broadcast(&mut path.into_bytes());
            return opened;
        }
        let mut path = Vec::new();
        ranks.broadcast(&mut path);
        let path = String::from_utf8(path).ok().filter(|path| !path.is_empty());
        let path = path.ok_or(TrainError::OtherRank { rank: 0 })?;
        self.call.values.set(|settings| settings.run.out = Some(path.clone()));
        Ok(RunFolder::open(Path::new(&path))?)
    }

    /// The folder of a new run with its settings written, or that of the resumed run.
    fn own_folder(&mut self) -> Result<RunFolder, Failure> {
        let values = &mut self.call.values;
        if let Some(path) = &self.resume {
            let folder = RunFolder::open(path)?;
            keep(&folder, &self.kept)?;
            if self.extension.is_some() {
                resume::record(&folder, values)?;
            }
            values.set(|settings| settings.run.out = Some(path.display().to_string()));
            return Ok(folder);
        }
        let path = match values.run.out() {
            Some(path) => PathBuf::from(path),
            None => fresh_folder(values.run.mdp(), values.objective.name().word()),
        };
        let folder = RunFolder::create(&path)?;
        keep(&folder, &self.kept)?;
        values.set(|settings| settings.run.out = Some(path.display().to_string()));
        let config = keys::to_toml(&resume::kept(values), TRAIN);
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

fn settings(values: &Values) -> Result<Settings, Failure> {
    if values.train.best_metric() == best::WIN_RATE && values.judge.every() == 0 {
        return Err(Failure::usage(
            "`train.best_metric` win_rate goes with `judge.every`, which says how often it is measured",
        ));
    }
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
        judge_every: values.judge.every(),
        eval_examples: values.train.eval_examples(),
        save_every: values.train.save_every(),
        save_seconds: values.train.save_minutes() * 60.0,
        keep_checkpoints: values.train.keep_checkpoints(),
        best_metric: Some(values.train.best_metric().to_owned()).filter(|name| name != "none"),
        patience: values.train.early_stopping_patience(),
        beta: objective::beta(values),
        safeguard: values.objective.safeguard(),
        reference_ema: values.model.reference_ema(),
        shard_optimizer: values.optimizer.shard(),
    };
    settings.checked().map_err(|error| Failure::usage(error.to_string()))
}

/// `runs/MODALITY-OBJECTIVE-N` with the first free N.
fn fresh_folder(mdp: Modality, objective: &str) -> PathBuf {
    (1..100_000)
        .map(|n| PathBuf::from(format!("runs/{}-{objective}-{n}", mdp.name())))
        .find(|path| !path.exists())
        .unwrap_or_else(|| PathBuf::from("runs/last"))
}
