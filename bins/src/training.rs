//! The verbs `train` and `precompute`.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, ValueHint};
use recipes::settings::Values;
use recipes::{Failure, TrainingStatus};

use crate::{Invocation, as_switch, stop};

/// A switch of `train` that is no setting.
pub(crate) const DRY_RUN: &str = "dry-run";

/// The description of `train`.
pub(crate) const ABOUT: &str = "Learns from preferences (the DPO family) or demonstrations (sft)";
/// The description of `precompute`.
pub(crate) const ABOUT_PRECOMPUTE: &str = "Computes the reference's numbers of a run before it";
/// Examples of `train`.
pub(crate) const HELP: &str = "Examples:
  hybrid-dpo train --mdp token
      the embedded model learns from the embedded preferences, in about a minute
  hybrid-dpo train --mdp hybrid
      an embedded refiner and an embedded generator learn from one preference, beside each alone
  hybrid-dpo train --model ./SmolLM2-135M --data pairs.jsonl --out runs/first
  hybrid-dpo train --model ./SmolLM2-135M --prompts prompts.txt --rounds 3 --judge ./reward --search best-of --width 8
      every round searches for the two sides of its pairs
  hybrid-dpo train --model ./SmolLM2-135M --data pairs.jsonl --dry-run
      the plan: steps, schedule, memory, disk, time
  hybrid-dpo train --resume runs/first
  hybrid-dpo train --resume runs/first --epochs 3";
/// About the settings of `precompute`, and an example.
pub(crate) const HELP_PRECOMPUTE: &str =
    "Takes those settings of the run that its reference's numbers depend on, and --config RUN.toml of the whole run.

Example:
  hybrid-dpo precompute --model ./SmolLM2-135M --data pairs.jsonl --reference-cache reference.cache
  hybrid-dpo train --model ./SmolLM2-135M --data pairs.jsonl --reference-cache reference.cache";

/// `train` with its arguments.
pub(crate) fn command(verb: Command) -> Command {
    verb.arg(
        Arg::new("resume")
            .long("resume")
            .value_name("RUN")
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(ValueHint::DirPath)
            .help("Takes up a run that was stopped, with the settings it has; --epochs or --max-steps make it longer"),
    )
    .arg(
        as_switch(Arg::new(DRY_RUN).long(DRY_RUN))
            .value_parser(clap::value_parser!(bool))
            .help("Says what the run would do and cost, by a first step that is tried, and writes nothing"),
    )
}

/// Trains, or plans a run.
pub(crate) fn train(asked: &Invocation, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let resume = matches.get_one::<PathBuf>("resume").map(PathBuf::as_path);
    if let (Some(run), None) = (resume, asked.values.run.threads()) {
        take_threads(run)?;
    }
    recipes::start_threads_with_this(None)?;
    if matches.get_one(DRY_RUN) == Some(&true) {
        return Ok(ended(&recipes::plan(asked.call(), resume)?.status));
    }
    // From here on an interrupt asks for a stop at the next step.
    stop::listen("stopping after this step, with a checkpoint")?;
    Ok(ended(&recipes::train(asked.call(), resume)?.status))
}

/// Starts as many threads as the run had, if it says.
fn take_threads(run: &Path) -> Result<(), Failure> {
    let (mut of_run, config) = (Values::default(), run.join("config.toml"));
    // Without the file it is no run, which is said where it is opened.
    if config.is_file() {
        of_run.merge_file(&config)?;
    }
    of_run.run.threads().map_or(Ok(()), |n| recipes::start_threads_with_this(Some(n)))
}

/// Fills a reference cache.
pub(crate) fn precompute(asked: &Invocation) -> Result<ExitCode, Failure> {
    stop::listen("stopping after this batch, with what is known written")?;
    Ok(ended(&recipes::precompute(asked.call())?.status))
}

fn ended(status: &TrainingStatus) -> ExitCode {
    match status {
        TrainingStatus::Interrupted { .. } | TrainingStatus::Precomputed { is_interrupted: true, .. } => {
            ExitCode::from(stop::CODE)
        }
        TrainingStatus::Finished
        | TrainingStatus::FinishedBefore { .. }
        | TrainingStatus::Planned
        | TrainingStatus::Precomputed { .. }
        | TrainingStatus::RoundsFinished { .. }
        | TrainingStatus::AwaitingLabels { .. } => ExitCode::SUCCESS,
    }
}
