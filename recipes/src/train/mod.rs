//! `train`.
mod diffusion;
mod hybrid;
mod image_presets;
mod rounds;
mod token;
mod token_rewards;
mod trainer;

use std::path::{Path, PathBuf};

use ::train::{RunFolder, Settings, write_whole};

use crate::embedded::PROMPTS;
use crate::keys::{self, TRAIN};
use crate::objective::{self, choose};
use crate::settings::{Modality, TrainingSettings, Values, at};
use crate::trained::{Trained, open_run};
use crate::{Call, Failure, card, model, report};

/// Trains, or resumes training.
///
/// `resume` names the folder of a stopped run, which holds its settings.
///
/// # Errors
/// Invalid settings or settings that nothing reads, files that can't be read or written, a diverging loss.
pub fn train(call: Call<'_, impl TrainingSettings>, resume: Option<&Path>) -> Result<Trained, Failure> {
    train_judged(call, resume, PROMPTS)
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
    let mut call = call.untyped();
    if let Some(path) = resume {
        load_resumed(&mut call.values, path)?;
    }
    preset(&mut call.values)?;
    keys::idle::refuse(&call.values, TRAIN)?;
    if call.values.rounds.rounds().is_some_and(|rounds| rounds > 0) {
        return rounds::train(call, resume);
    }
    if call.values.rounds.rounds() == Some(0) {
        return Err(Failure::usage("`rounds.rounds` takes at least 1"));
    }
    one(call, resume.map(Path::to_owned), prompts)
}

/// Sets the defaults of a run: those of its problem, its loss and its preset.
///
/// # Errors
/// Settings contradict each other.
pub(crate) fn preset(values: &mut Values) -> Result<(), Failure> {
    match values.run.mdp() {
        Modality::Diffusion => image_presets::presets(values)?,
        Modality::Hybrid => hybrid::presets(values)?,
        Modality::Token => token::presets(values)?,
    }
    decide_length(values);
    Ok(())
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
    card::of_trained(&trained, reporter);
    report::of_trained(&trained, reporter);
    reporter.trained(&trained);
    Ok(trained)
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
