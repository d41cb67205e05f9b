//! `reproduce`: the figures of the command line, results on stdout.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use recipes::Failure;
use reproduce::{Figure, Scale, Setup};

use crate::{Invocation, as_switch, console, stop};

/// The switch for a smoke test.
pub(crate) const QUICK: &str = "quick";

/// The word for every figure.
const ALL: &str = "all";

/// The folder unless `--out` names another.
const OUT: &str = "reproduced";

/// Its description.
pub(crate) const ABOUT: &str = "Measures the paper's claims on the embedded problems";
/// Examples of it.
pub(crate) const HELP: &str = "Examples:
  hybrid-dpo reproduce theory
      Section 4 on exact problems, in seconds
  hybrid-dpo reproduce all --out results
      every claim, with a page; stopped, the same command goes on
  hybrid-dpo reproduce beams --quick --out try
      a smoke test of a few steps, whose numbers mean nothing";

/// The verb with its arguments.
pub(crate) fn command(verb: Command) -> Command {
    let words = Figure::ALL.map(Figure::word).into_iter().chain([ALL]);
    let figure = Arg::new("figure").value_name("FIGURE").required(true).value_parser(PossibleValuesParser::new(words));
    let quick = as_switch(Arg::new(QUICK).long(QUICK)).value_parser(clap::value_parser!(bool));
    verb.arg(figure.help("A part of the paper, or all of them"))
        .arg(quick.help("Takes a few steps of everything: a smoke test, whose numbers mean nothing"))
}

pub(crate) fn reproduce(asked: &Invocation, sub: &ArgMatches) -> Result<ExitCode, Failure> {
    stop::listen("stopping after this step; the same command goes on from there")?;
    let word = sub.get_one::<String>("figure").map_or(ALL, String::as_str);
    let figures = Figure::of(word).map_or(Figure::ALL.to_vec(), |figure| vec![figure]);
    let setup = Setup {
        out: PathBuf::from(asked.values.run.out().unwrap_or(OUT)),
        seed: asked.values.run.seed(),
        scale: if sub.get_one(QUICK) == Some(&true) { Scale::Quick } else { Scale::Full },
        reporter: &asked.console,
    };
    let page = reproduce::reproduce(&figures, &setup, &mut |result| console::result(&result.to_string()))?;
    console::result(&format!("page: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}
