//! `train`.
mod diffusion;
mod hybrid;
mod image_presets;
mod rounds;
mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use train::{Decay, RunFolder, Settings, write_whole};

use crate::keys::{self, TRAIN};
use crate::objective::choose;
use crate::{Call, Failure, model, stop};
use recipes::settings::{Modality, ScheduleName, Values, at};

/// Trains, or goes on training.
pub(crate) fn train(mut call: Call, resume: Option<&PathBuf>) -> Result<ExitCode, Failure> {
    if let Some(path) = resume {
        take_up(&mut call.values, path)?;
    }
    let mdp = call.values.run.mdp();
    let embedded = match mdp {
        Modality::Diffusion => image_presets::presets(&mut call.values)?,
        Modality::Hybrid => hybrid::presets(&mut call.values)?,
        Modality::Token => token::presets(&mut call.values)?,
    };
    decide_length(&mut call.values);
    keys::idle::refuse(&call.values, TRAIN)?;
    // From here on an interrupt is a wish to stop at the next step.
    let stop = stop::listen("stopping after this step, with a checkpoint")?;
    if call.values.rounds.rounds().is_some_and(|rounds| rounds > 0) {
        return rounds::train(call, resume, stop);
    }
    if call.values.rounds.rounds() == Some(0) {
        return Err(Failure::usage("--rounds takes at least 1"));
    }
    one(call, embedded, resume.cloned(), stop)
}

/// A number of steps alone decides how long a run is: then a default's epochs do not end it earlier.
fn decide_length(values: &mut Values) {
    if values.train.max_steps.is_some() && !values.is_given(&at::train::epochs) {
        values.set(|settings| settings.train.epochs = None);
    }
}

/// One run, all of whose settings are known.
fn one(call: Call, embedded: bool, resume: Option<PathBuf>, stop: &'static AtomicBool) -> Result<ExitCode, Failure> {
    let mdp = call.values.run.mdp();
    let objective = if mdp == Modality::Hybrid { hybrid::objective(&call.values)? } else { choose(&call.values)? };
    let settings = settings(&call.values)?;
    model::optimizer(&call.values)?;
    let task = Task { call, settings, embedded, resume, stop };
    match mdp {
        Modality::Diffusion => diffusion::train(task, objective),
        Modality::Hybrid => hybrid::train(task, objective),
        Modality::Token => token::train(task, objective),
    }
}

/// What every kind of problem gets.
struct Task {
    call: Call,
    settings: Settings,
    embedded: bool,
    resume: Option<PathBuf>,
    stop: &'static AtomicBool,
}

impl Task {
    /// A new run's folder with its settings in it, or that of the run that goes on.
    fn folder(&mut self) -> Result<RunFolder, Failure> {
        let values = &mut self.call.values;
        if let Some(path) = &self.resume {
            let folder = RunFolder::open(path)?;
            values.set(|settings| settings.run.out = Some(path.display().to_string()));
            return Ok(folder);
        }
        let path = match values.run.out() {
            Some(path) => PathBuf::from(path),
            None => fresh_folder(values.objective.name().word()),
        };
        let folder = RunFolder::create(&path)?;
        values.set(|settings| settings.run.out = Some(path.display().to_string()));
        let config = keys::to_toml(values, TRAIN);
        write_whole(&folder.join("config.toml"), |file| std::io::Write::write_all(file, config.as_bytes()))?;
        Ok(folder)
    }
}

/// A resumed run has the settings it was started with.
fn take_up(values: &mut Values, path: &Path) -> Result<(), Failure> {
    if let Some(key) =
        keys::all().find(|key| values.is_given(key.field) && ![&at::run::device, &at::run::mdp].contains(&key.field))
    {
        let text =
            format!("--{} can't be given with --resume: the run goes on with the settings it has", key.field.name);
        return Err(Failure::usage(text));
    }
    RunFolder::open(path)?;
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
        decay: match values.optimizer.schedule() {
            ScheduleName::Linear => Decay::Linear,
            ScheduleName::Cosine => Decay::Cosine,
            ScheduleName::Constant => Decay::Constant,
        },
        max_gradient_norm: Some(values.optimizer.max_grad_norm()),
        eval_every: values.train.eval_every(),
        eval_examples: values.train.eval_examples(),
        save_every: values.train.save_every(),
        keep_checkpoints: values.train.keep_checkpoints(),
        beta: values.objective.beta(),
    };
    settings.checked().map_err(|error| Failure::usage(format!("--{error}")))
}

/// `runs/OBJECTIVE-N` with the first free N.
fn fresh_folder(objective: &str) -> PathBuf {
    (1..100_000)
        .map(|n| PathBuf::from(format!("runs/{objective}-{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| PathBuf::from("runs/last"))
}
