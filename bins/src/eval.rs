//! `eval`: its arguments, and the table or the JSON.
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use recipes::Failure;

use crate::{Invocation, as_switch, console, stop};

/// The switch for JSON in place of the table.
pub(crate) const JSON: &str = "json";

/// Its description.
pub(crate) const ABOUT: &str = "Measures a model on preferences: accuracy, margin, KL, perplexity";
/// Examples of it.
pub(crate) const HELP: &str = "Examples:
  hybrid-dpo eval --model runs/first --data pairs.jsonl
      accuracy, margin, KL and perplexity with 95% intervals, beside what the run began with
  hybrid-dpo eval --model ./SmolLM2-135M --data pairs.jsonl --json
  hybrid-dpo eval --mdp diffusion --model runs/second --data builtin:shapes --limit 128 --out shapes.json";

/// The verb with its arguments.
pub(crate) fn command(verb: Command) -> Command {
    verb.arg(
        as_switch(Arg::new(JSON).long(JSON))
            .value_parser(clap::value_parser!(bool))
            .help("Prints the measures as JSON instead of a table"),
    )
}

/// Measures, and prints the result; a file gets it as JSON besides.
pub(crate) fn eval(asked: &Invocation, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    stop::end_at_once()?;
    let evaluation = recipes::eval(asked.call())?;
    let is_json = matches.get_one(JSON) == Some(&true);
    console::result(&if is_json { serde_json::to_string_pretty(&evaluation)? } else { evaluation.to_string() });
    Ok(ExitCode::SUCCESS)
}
