//! The command line.
//!
//! This is the only crate that prints and that knows run-time choices; everything it chooses between lives elsewhere.

mod cache;
mod completions;
mod console;
mod credit;
mod eval;
mod export;
mod help;
mod hints;
mod hub;
mod inspect;
mod label;
mod left;
mod output;
mod piped;
mod progress;
mod ranks;
mod report;
mod reproduce;
mod sample;
mod stop;
mod trained;
mod training;

#[cfg(test)]
mod idle_tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use recipes::keys::{
    self, CREDIT, EVAL, EXPORT, INSPECT, JUDGE, LABEL, MERGE, PRECOMPUTE, REPORT, REPRODUCE, SAMPLE, SCORE, SEARCH,
    TRAIN, Verbs,
};
use recipes::settings::{Kind, Values};
use recipes::{Call, Failure};

use crate::progress::Console;

/// Runs the command line `arguments`, program name first, and returns the exit code: 0 done, 1 failed, 2 wrong usage,
/// 130 interrupted after a checkpoint.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    completions::answer();
    let arguments = join_switches(arguments);
    let matches = match command_for(&arguments).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(mut error) => {
            hints::add(&mut error, &keys::all().map(|key| key.field.name.to_owned()).collect::<Vec<_>>());
            hints::show(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let job = match ranks::join(matches.subcommand_name()) {
        Ok(job) => job,
        Err(failure) => return failed(ranks::Job::alone(), &failure),
    };
    match dispatch(&matches).and_then(|code| output::complete().map(|()| code)) {
        Ok(code) => code,
        Err(failure) => failed(job, &failure),
    }
}

/// Says why the work has failed, and returns the exit code.
fn failed(job: ranks::Job, failure: &Failure) -> ExitCode {
    let code = if failure.is_interrupt() {
        stop::CODE
    } else if failure.is_usage() {
        2
    } else {
        1
    };
    job.fail(failure, code, |failure| {
        if failure.is_interrupt() {
            console::notice(stop::NOTHING_KEPT);
        } else {
            console::error(&failure.to_string());
        }
    });
    ExitCode::from(code)
}

/// The input of every verb.
struct Invocation {
    values: Values,
    console: Console,
}

impl Invocation {
    fn call(&self) -> Call<'_> {
        Call { values: self.values.clone(), reporter: &self.console }
    }
}

fn dispatch(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    match matches.subcommand() {
        Some(("train", sub)) => training::train(&asked(sub, TRAIN)?, sub),
        Some(("precompute", sub)) => training::precompute(&asked(sub, PRECOMPUTE)?),
        Some(("score", sub)) => score(&asked(sub, SCORE)?),
        Some(("eval", sub)) => eval::eval(&asked(sub, EVAL)?, sub),
        Some(("export", sub)) => export::export(&asked(sub, EXPORT)?),
        Some(("merge", sub)) => export::merge(&asked(sub, MERGE)?),
        Some(("sample", sub)) => sample::sample(&asked(sub, SAMPLE)?),
        Some(("search", sub)) => sample::search(&asked(sub, SEARCH)?),
        Some(("inspect", sub)) => inspect::inspect(&asked(sub, INSPECT)?, sub.get_one::<PathBuf>("path").cloned()),
        Some(("judge", sub)) => judge(&asked(sub, JUDGE)?),
        Some(("label", sub)) => label::label(&asked(sub, LABEL)?),
        Some(("credit", sub)) => credit::credit(&asked(sub, CREDIT)?),
        Some(("report", sub)) => report::report(&asked(sub, REPORT)?, sub),
        Some(("reproduce", sub)) => reproduce::reproduce(&asked(sub, REPRODUCE)?, sub),
        Some(("completions", sub)) => {
            console::result(completions::script(sub)?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Failure::usage("no verb given; see hybrid-dpo --help")),
    }
}

fn score(asked: &Invocation) -> Result<ExitCode, Failure> {
    stop::end_at_once()?;
    let lines = recipes::score(asked.call())?;
    print(asked, &lines);
    asked.console.info(&recipes::summarise(&lines, asked.values.run.seed()).to_string());
    Ok(ExitCode::SUCCESS)
}

fn judge(asked: &Invocation) -> Result<ExitCode, Failure> {
    stop::listen("stopping after the questions under way")?;
    match recipes::judge(asked.call()) {
        Ok(report) => {
            console::result(&report.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) if failure.is_interrupt() => {
            console::notice("stopped; what was answered is kept, and the same command goes on from there");
            Ok(ExitCode::from(stop::CODE))
        }
        Err(failure) => Err(failure),
    }
}

/// Prints lines unless a file was named for them.
fn print(asked: &Invocation, lines: &[impl std::fmt::Display]) {
    if asked.values.run.out().is_none() {
        for line in lines {
            console::result(&line.to_string());
        }
    }
}

/// Merges the sources of settings and starts logging.
fn asked(matches: &ArgMatches, verb: Verbs) -> Result<Invocation, Failure> {
    let mut values = Values::default();
    merge(&mut values, matches, verb)?;
    // What is inspected says itself what it is, and what a run reads is known once its defaults are.
    if verb & (INSPECT | TRAIN | PRECOMPUTE) == 0 {
        keys::idle::refuse(&values, verb)?;
    }
    let n_threads = values.run.threads().or_else(ranks::threads);
    // A run that is taken up may say how many it has.
    if n_threads.is_some() || verb & TRAIN == 0 {
        recipes::start_threads_with_this(n_threads)?;
    }
    hub::start();
    let json = matches.get_one::<String>("log-format").is_some_and(|format| format == "json");
    Ok(Invocation {
        values,
        console: Console::start(matches.get_one("quiet") == Some(&true) || output::is_silent(), json),
    })
}

/// Merges a file, `--set` and flags, in this order.
fn merge(values: &mut Values, matches: &ArgMatches, verb: Verbs) -> Result<(), Failure> {
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        values.merge_file(path)?;
    }
    for set in matches.get_many::<String>("set").into_iter().flatten() {
        values.merge_set(set)?;
    }
    for key in keys::all().filter(|key| key.verbs & verb != 0) {
        values.merge_flags(key.field, matches.get_many::<String>(key.field.name).into_iter().flatten())?;
    }
    Ok(())
}

/// `--switch true` as `--switch=true`. No other word is taken for a switch's value, so that what follows one may be a path.
fn join_switches(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let is_word = |argument: &OsString| ["true", "false"].iter().any(|word| argument.eq_ignore_ascii_case(word));
    let mut joined: Vec<OsString> = Vec::new();
    let mut is_over = false;
    for argument in arguments {
        is_over |= argument == "--";
        match joined.last_mut() {
            Some(last) if !is_over && is_word(&argument) && is_switch(last) => {
                last.push("=");
                last.push(argument.to_ascii_lowercase());
            }
            _ => joined.push(argument),
        }
    }
    joined
}

fn is_switch(argument: &OsString) -> bool {
    let flag = argument.to_str().and_then(|argument| argument.strip_prefix("--"));
    flag.is_some_and(|flag| {
        [QUIET, training::DRY_RUN, reproduce::QUICK, eval::JSON].contains(&flag)
            || keys::all().any(|key| key.field.kind == Kind::Switch && key.field.name == flag)
    })
}

/// A switch that is no setting.
const QUIET: &str = "quiet";

/// The command line that parses these arguments; help among them has the defaults that the others lead to.
fn command_for(arguments: &[OsString]) -> Command {
    let is_help = |argument: &&OsString| *argument == "-h" || *argument == "--help";
    if !arguments.iter().any(|argument| is_help(&argument)) {
        return command();
    }
    let others = arguments.iter().filter(|argument| !is_help(argument));
    command_with(command().try_get_matches_from(others).ok().as_ref())
}

/// The whole command line.
pub fn command() -> Command {
    command_with(None)
}

/// The whole command line, with the defaults in its help that these arguments lead to.
fn command_with(given: Option<&ArgMatches>) -> Command {
    let verb = |name: &'static str, bit, about, example| {
        let given = given.and_then(|given| given.subcommand_matches(name));
        self::verb(name, bit, about, example, given)
    };
    Command::new("hybrid-dpo")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Models of any kind learn from preferences: one loss for token, diffusion and hybrid MDPs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(training::command(verb("train", TRAIN, training::ABOUT, training::HELP)))
        .subcommand(verb("precompute", PRECOMPUTE, training::ABOUT_PRECOMPUTE, training::HELP_PRECOMPUTE))
        .subcommand(verb("score", SCORE, "Writes the log-probability of every token of every answer", SCORE_HELP))
        .subcommand(eval::command(verb("eval", EVAL, eval::ABOUT, eval::HELP)))
        .subcommand(verb("sample", SAMPLE, "Draws answers to prompts", sample::HELP))
        .subcommand(verb("search", SEARCH, "Searches for answers to prompts: beams, trees, particles", sample::HELP_SEARCH))
        .subcommand(verb("merge", MERGE, export::ABOUT_MERGE, export::HELP_MERGE))
        .subcommand(verb("export", EXPORT, export::ABOUT, export::HELP).visible_alias("convert"))
        .subcommand(
            verb("inspect", INSPECT, "Says what a model, a data set or a run is", inspect::HELP).arg(
                Arg::new("path")
                    .value_name("FILE|DIR")
                    .value_parser(clap::value_parser!(PathBuf))
                    .value_hint(ValueHint::AnyPath)
                    .help("What to look at; data is read with the tokenizer of --model, or as --data with that of a model here"),
            ),
        )
        .subcommand(verb("judge", JUDGE, "Compares pairs, or files of samples, by a judge", JUDGE_HELP))
        .subcommand(verb("label", LABEL, "Serves a page where people compare pairs", LABEL_HELP))
        .subcommand(verb("credit", CREDIT, "Shows which decisions the reward is laid on", CREDIT_HELP))
        .subcommand(report::command(verb("report", REPORT, report::ABOUT, report::HELP)))
        .subcommand(reproduce::command(verb("reproduce", REPRODUCE, reproduce::ABOUT, reproduce::HELP)))
        .subcommand(completions::command())
}

fn verb(
    name: &'static str,
    bit: Verbs,
    about: &'static str,
    example: &'static str,
    given: Option<&ArgMatches>,
) -> Command {
    let mut command = Command::new(name)
        .about(about)
        .after_help(format!("{}{example}", help::short_note(bit)))
        .after_long_help(format!("{}{example}", help::note(bit)));
    let settings = help::settings(given, bit);
    for key in help::keys_in_groups(bit) {
        command = command.arg(help::describe(flag(key, bit), key, bit, &settings));
    }
    command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE.toml")
                .value_parser(clap::value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Reads settings from a file; a run's config.toml is one"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("SECTION.KEY=VALUE")
                .action(ArgAction::Append)
                .help("Sets one value; wins over the file, flags win over it"),
        )
        .arg(
            as_switch(Arg::new(QUIET).long(QUIET))
                .value_parser(clap::value_parser!(bool))
                .help("Says nothing but results and errors"),
        )
        .arg(
            Arg::new("log-format")
                .long("log-format")
                .value_name("FORMAT")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("How progress is written to stderr"),
        )
}

/// `--switch`, `--switch=true` and, joined before, `--switch true`.
fn as_switch(arg: Arg) -> Arg {
    arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
}

fn flag(key: &'static keys::Key, verb: Verbs) -> Arg {
    let (name, kind) = (key.field.name, key.field.kind);
    let arg = Arg::new(name).long(name).allow_hyphen_values(true).add(completions::values(key.field));
    match kind {
        Kind::Count => arg.value_name("N"),
        Kind::Number => arg.value_name("X"),
        Kind::Text => arg.value_name(what(name)),
        Kind::List => arg.value_name(words(name)).action(ArgAction::Append),
        Kind::Texts if name == "data" => {
            let is_mixed = verb & (TRAIN | PRECOMPUTE) != 0;
            arg.value_name(if is_mixed { "DATA[:WEIGHT]" } else { "DATA" }).action(ArgAction::Append)
        }
        Kind::Texts => arg.value_name(if name == "a" { "FILE" } else { "TEXT" }).action(ArgAction::Append),
        Kind::Switch => as_switch(arg),
        Kind::Choice(_) => arg.value_name("WORD"),
    }
}

/// The placeholder of a list in the help.
fn words(name: &str) -> &'static str {
    match name {
        "map" => "COLUMN=NAME,..",
        "template" => "NAME=VALUE,..",
        _ => "A,B",
    }
}

/// The placeholder of a text setting in the help.
fn what(name: &str) -> &'static str {
    match name {
        "model"
        | "reference"
        | "refiner"
        | "generator"
        | "refiner-reference"
        | "generator-reference"
        | "verifier"
        | "guide"
        | "guide-reference" => "MODEL",
        "request-template" | "system" => "TEXT",
        "eval-data" => "DATA",
        "device" => "DEVICE",
        "pairs" | "reward-model" | "svg" => "DIR",
        "judge" => "JUDGE",
        "endpoint" | "judge-proxy" => "URL",
        "judge-fields" => "JSON",
        "host" => "ADDRESS",
        "token" => "TOKEN",
        "labeller" | "judge-model" | "judge-key-variable" => "NAME",
        _ => "PATH",
    }
}

const SCORE_HELP: &str = "Examples:
  hybrid-dpo score --model runs/first --data pairs.jsonl --out scores.jsonl
  hybrid-dpo score --model runs/first --reference ./SmolLM2-135M --data pairs.jsonl";
const JUDGE_HELP: &str = "Examples:
  hybrid-dpo judge --a after.jsonl --b before.jsonl --judge openai --endpoint https://api.openai.com/v1 --judge-model gpt-4.1
      two files that sample wrote for the same prompts; the key is in OPENAI_API_KEY, and no answer is asked for twice
  hybrid-dpo judge --a one.jsonl --a other.jsonl --b data.jsonl --judge ./reward-model --out judged.json
      two systems against the chosen answers of a data file, and the difference between them

From pairs to a run:
  hybrid-dpo sample --mdp hybrid --prompts builtin:chimera --limit-prompts 64 --pairs pairs
  hybrid-dpo judge --pairs pairs
  hybrid-dpo train --mdp hybrid --refiner ./refiner --generator ./generator --data pairs";
const LABEL_HELP: &str = "Examples:
  hybrid-dpo label --pairs pairs
      then open the address it says in a browser; ctrl-C ends it, and the same command goes on from there
  hybrid-dpo label --pairs pairs --host 0.0.0.0 --token \"$(openssl rand -hex 16)\"
      for several people; the connection is not encrypted, so on a network that you trust";
const CREDIT_HELP: &str = "Examples:
  hybrid-dpo credit --model runs/first --reference ./SmolLM2-135M --data answers.jsonl --html credit.html
      a line of answers.jsonl: {\"prompt\": \"..\", \"response\": \"..\", \"spans\": [[12, 17]]}
  hybrid-dpo credit --model runs/first --reference builtin:tldr --data builtin:tldr --limit 64
  hybrid-dpo credit --mdp diffusion --model runs/second --reference builtin:shapes --data builtin:shapes --html credit.html
      the reward of every denoising step and every pixel, laid over the pictures
  hybrid-dpo credit --mdp hybrid --model runs/third --refiner-reference builtin:chimera-refiner --generator-reference \
      builtin:chimera-generator --data builtin:chimera
      what of the margin is of words, and what of pictures";
