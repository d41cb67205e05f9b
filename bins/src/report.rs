//! `report`: its arguments, and where the page is.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, ValueHint};
use recipes::Failure;

use crate::{Invocation, console};

/// Its description.
pub(crate) const ABOUT: &str = "Writes a page about a run, or about several beside each other";
/// Examples of it.
pub(crate) const HELP: &str = "Examples:
  hybrid-dpo report runs/first
      writes runs/first/report.html, one file that opens in any browser
  hybrid-dpo report runs/first runs/second --out comparison.html --svg plots";

/// The verb with its arguments.
pub(crate) fn command(verb: Command) -> Command {
    verb.arg(
        Arg::new("runs")
            .value_name("RUN")
            .num_args(1..)
            .required(true)
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(ValueHint::DirPath)
            .help("Folders of runs, finished or not"),
    )
}

/// Writes the page and prints where it is.
pub(crate) fn report(asked: &Invocation, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let runs: Vec<PathBuf> = matches.get_many("runs").into_iter().flatten().cloned().collect();
    let page = recipes::report(asked.call(), &runs)?;
    console::result(&page.display().to_string());
    Ok(ExitCode::SUCCESS)
}
