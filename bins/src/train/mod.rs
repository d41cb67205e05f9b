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
use crate::values::Values;
use crate::{Call, Failure, model, stop};

/// Trains, or goes on training.
pub(crate) fn train(mut call: Call, resume: Option<&PathBuf>) -> Result<ExitCode, Failure> {
    if let Some(path) = resume {
        take_up(&mut call.values, path)?;
    }
    let mdp = call.values.word("run.mdp").to_owned();
    let embedded = match mdp.as_str() {
        "diffusion" => image_presets::presets(&mut call.values)?,
        "hybrid" => hybrid::presets(&mut call.values)?,
        _ => token::presets(&mut call.values)?,
    };
    decide_length(&mut call.values);
    keys::idle::refuse(&call.values, TRAIN)?;
    // From here on an interrupt is a wish to stop at the next step.
    let stop = stop::listen("stopping after this step, with a checkpoint")?;
    if call.values.count("rounds.rounds").is_some_and(|rounds| rounds > 0) {
        return rounds::train(call, resume, stop);
    }
    if call.values.count("rounds.rounds") == Some(0) {
        return Err(Failure::usage("--rounds takes at least 1"));
    }
    one(call, embedded, resume.cloned(), stop)
}

/// A number of steps alone decides how long a run is: then a default's epochs do not end it earlier.
fn decide_length(values: &mut Values) {
    if values.has("train.max_steps") && !values.is_given("train.epochs") {
        values.clear("train.epochs");
    }
}

/// One run, all of whose settings are known.
fn one(call: Call, embedded: bool, resume: Option<PathBuf>, stop: &'static AtomicBool) -> Result<ExitCode, Failure> {
    let mdp = call.values.word("run.mdp").to_owned();
    let objective = if mdp == "hybrid" { hybrid::objective(&call.values)? } else { choose(&call.values)? };
    let settings = settings(&call.values)?;
    model::optimizer(&call.values)?;
    let task = Task { call, settings, embedded, resume, stop };
    match mdp.as_str() {
        "diffusion" => diffusion::train(task, objective),
        "hybrid" => hybrid::train(task, objective),
        _ => token::train(task, objective),
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
            values.settle("run.out", &path.display().to_string());
            return Ok(folder);
        }
        let path = match values.text("run.out") {
            Some(path) => PathBuf::from(path),
            None => fresh_folder(values.word("objective.name")),
        };
        let folder = RunFolder::create(&path)?;
        values.settle("run.out", &path.display().to_string());
        let config = values.to_toml(TRAIN);
        write_whole(&folder.join("config.toml"), |file| std::io::Write::write_all(file, config.as_bytes()))?;
        Ok(folder)
    }
}

/// A resumed run has the settings it was started with.
fn take_up(values: &mut Values, path: &Path) -> Result<(), Failure> {
    if let Some(key) = keys::all().find(|key| values.is_given(key.path) && !matches!(key.flag, "device" | "mdp")) {
        let text = format!("--{} can't be given with --resume: the run goes on with the settings it has", key.flag);
        return Err(Failure::usage(text));
    }
    RunFolder::open(path)?;
    values.merge_file(&path.join("config.toml"))?;
    Ok(())
}

fn settings(values: &Values) -> Result<Settings, Failure> {
    let count = |path| values.count(path).unwrap_or_default();
    let number = |path| values.number(path).unwrap_or_default();
    let settings = Settings {
        seed: count("run.seed") as u64,
        batch_size: count("train.batch_size"),
        micro_batch_size: count("train.micro_batch_size"),
        epochs: values.count("train.epochs"),
        max_steps: values.count("train.max_steps"),
        rate: number("optimizer.lr"),
        warmup_steps: count("optimizer.warmup_steps"),
        decay: match values.word("optimizer.schedule") {
            "linear" => Decay::Linear,
            "cosine" => Decay::Cosine,
            _ => Decay::Constant,
        },
        max_gradient_norm: values.number("optimizer.max_grad_norm"),
        eval_every: count("train.eval_every"),
        eval_examples: count("train.eval_examples"),
        save_every: count("train.save_every"),
        keep_checkpoints: count("train.keep_checkpoints"),
        beta: number("objective.beta"),
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
