//! Help: which flags `-h` lists, the groups of `--help`, and the defaults of the command line it ends.
use clap::{Arg, ArgMatches};
use recipes::keys::{self, Key, PRECOMPUTE, REPORT, REPRODUCE, TRAIN, Verbs};
use recipes::settings::{Field, Kind, Settings, Values, at};

use crate::console;

/// The groups of flags, in their order.
const GROUPS: [&str; 16] = [
    "Run",
    "Model",
    REFINER,
    "Data",
    "Loss",
    "Optimiser",
    "Loop",
    "Evaluation",
    DENOISING,
    "Sampling",
    "Search",
    "Rounds and judges",
    "Pairs and the labelling page",
    "Credit",
    "Page",
    "Output",
];
const REFINER: &str = "Refiner and generator (--mdp hybrid)";
const DENOISING: &str = "Denoising (--mdp diffusion, hybrid)";

/// What is listed under evaluation, whatever its section.
const EVALUATION: [Field; 7] = [
    at::data::eval_data,
    at::data::eval_share,
    at::train::eval_every,
    at::train::eval_examples,
    at::train::n_samples,
    at::train::best_metric,
    at::train::early_stopping_patience,
];
/// What is listed under output, whatever its section.
const OUTPUT: [Field; 6] = [
    at::run::out,
    at::model::save_dtype,
    at::train::save_every,
    at::train::save_minutes,
    at::train::keep_checkpoints,
    at::sample::save_trajectories,
];

/// The group that `--help` lists a flag in.
pub(crate) fn group(field: &Field) -> &'static str {
    if EVALUATION.contains(field) {
        return "Evaluation";
    }
    if OUTPUT.contains(field) {
        return "Output";
    }
    if *field == at::train::preset {
        return "Run";
    }
    match field.path.split_once('.').map_or("", |(section, _)| section) {
        "run" => "Run",
        "model" => "Model",
        "hybrid" => REFINER,
        "data" => "Data",
        "objective" => "Loss",
        "optimizer" => "Optimiser",
        "diffusion" => DENOISING,
        "sample" => "Sampling",
        "search" => "Search",
        "rounds" | "judge" => "Rounds and judges",
        "label" => "Pairs and the labelling page",
        "credit" => "Credit",
        "report" => "Page",
        _ => "Loop",
    }
}

/// The flags that `-h` lists; `--help` lists all.
const COMMON: &[Field] = &[
    at::run::mdp,
    at::run::seed,
    at::run::out,
    at::train::preset,
    at::model::model,
    at::model::reference,
    at::model::lora_rank,
    at::hybrid::refiner,
    at::hybrid::generator,
    at::data::data,
    at::data::eval_data,
    at::data::format,
    at::data::max_length,
    at::objective::name,
    at::objective::beta,
    at::optimizer::lr,
    at::optimizer::warmup_steps,
    at::train::batch_size,
    at::train::micro_batch_size,
    at::train::epochs,
    at::train::max_steps,
    at::train::eval_every,
    at::train::save_every,
    at::sample::prompts,
    at::sample::prompt,
    at::sample::chat,
    at::sample::max_new_tokens,
    at::sample::n,
    at::sample::temperature,
    at::sample::top_p,
    at::sample::sampler,
    at::sample::steps,
    at::sample::guidance,
    at::search::method,
    at::search::width,
    at::search::score,
    at::rounds::rounds,
    at::judge::judge,
    at::label::pairs,
];

/// Verbs with so many flags that `-h` lists only the [`COMMON`] ones.
fn is_long(verb: Verbs) -> bool {
    keys::all().filter(|key| key.verbs & verb != 0).count() > 20
}

/// The settings that a verb reads, group by group.
pub(crate) fn keys_in_groups(verb: Verbs) -> impl Iterator<Item = &'static Key> {
    GROUPS
        .into_iter()
        .flat_map(move |name| keys::all().filter(move |key| key.verbs & verb != 0 && group(key.field) == name))
}

/// Adds the help of a setting to its flag, with the defaults of `settings`.
pub(crate) fn describe(arg: Arg, key: &Key, verb: Verbs, settings: &Settings) -> Arg {
    let mut whole = console::with_flags(key.field.help());
    let short = whole.split("; ").next().unwrap_or_default().to_owned();
    if *key.field == at::data::data && verb & (TRAIN | PRECOMPUTE) == 0 {
        // Only these mix several sources.
        whole.clone_from(&short);
    }
    let words =
        if let Kind::Choice(words) = key.field.kind { format!(" ({})", words.join(", ")) } else { String::new() };
    let default = key.field.text(settings).map(|text| format!(" [{text}]")).unwrap_or_default();
    let of = match key.only.filter(|_| !group(key.field).contains("--mdp")) {
        Some(mdp) if key.in_hybrid => format!("; --mdp {mdp}, hybrid"),
        Some(mdp) => format!("; --mdp {mdp}"),
        None => String::new(),
    };
    arg.help(format!("{short}{default}"))
        .long_help(format!("{whole}{of}{words}{default}"))
        .hide_short_help(is_long(verb) && !COMMON.contains(key.field))
        .help_heading(group(key.field))
}

/// What `--help` says of itself.
pub(crate) fn note(verb: Verbs) -> &'static str {
    if verb & (REPORT | REPRODUCE) != 0 || !is_long(verb) {
        return "";
    }
    "In brackets: the default with a model of your own, or with the flags that stand beside --help.\n\n"
}

/// What `-h` says of `--help`.
pub(crate) fn short_note(verb: Verbs) -> &'static str {
    if is_long(verb) { "These are the common flags; --help lists all of them.\n\n" } else { "" }
}

/// The settings of a verb that was given these arguments, defaults included; plain defaults where they do not fit together.
pub(crate) fn settings(matches: Option<&ArgMatches>, verb: Verbs) -> Settings {
    let mut values = Values::default();
    let given = matches.is_some_and(|matches| merge(&mut values, matches, verb).is_ok_and(|given| given));
    if !given {
        values.set(|settings| settings.model.model = Some(String::new()));
    }
    let mut settings = if recipes::preset(&mut values, verb).is_ok() { (*values).clone() } else { Settings::default() };
    if !given {
        settings.model.model = None;
    }
    settings
}

/// Merges what was given; whether anything was.
fn merge(values: &mut Values, matches: &ArgMatches, verb: Verbs) -> Result<bool, recipes::Failure> {
    let before = values.clone();
    crate::merge(values, matches, verb)?;
    Ok(*values != before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recipes::keys::SEARCH;
    use recipes::settings::fields;

    fn help(line: &str, long: bool) -> String {
        let words = line.split_whitespace().chain([if long { "--help" } else { "-h" }]).map(Into::into);
        let words: Vec<std::ffi::OsString> = std::iter::once("hybrid-dpo".into()).chain(words).collect();
        crate::command_for(&words).try_get_matches_from(words).unwrap_err().to_string()
    }

    /// The text of a flag until the next one.
    fn of<'a>(help: &'a str, flag: &str) -> &'a str {
        let start = help.find(&format!("--{flag} ")).unwrap_or_else(|| panic!("no {flag} in {help}"));
        let end = help[start..].find("\n      --").map_or(help.len(), |end| start + end);
        help[start..end].trim_end()
    }

    #[test]
    fn every_setting_is_in_a_group_and_every_common_one_exists() {
        assert!(fields().all(|field| GROUPS.contains(&group(field))));
        for verb in [TRAIN, SEARCH] {
            let listed = keys_in_groups(verb).count();
            assert_eq!(listed, keys::all().filter(|key| key.verbs & verb != 0).count());
        }
    }

    #[test]
    fn the_short_help_is_a_part_of_the_long_one() {
        let (short, long) = (help("train", false), help("train", true));
        assert!(2 * short.lines().count() < long.lines().count(), "{short}");
        assert!(short.contains("--beta") && !short.contains("--rslora"), "{short}");
        assert!(long.contains("--rslora") && long.contains("\nOptimiser:"), "{long}");
    }

    #[test]
    fn only_what_mixes_sources_speaks_of_weights() {
        for verb in ["train", "precompute", "eval", "score", "credit", "inspect"] {
            let help = help(verb, true);
            let data = of(&help, "data");
            let is_mixed = ["train", "precompute"].contains(&verb);
            assert_eq!((data.contains("[:WEIGHT]"), data.contains("FILE:WEIGHT")), (is_mixed, is_mixed), "{data}");
        }
        assert!(of(&help("train", true), "map").starts_with("--map <COLUMN=NAME,..>"));
        assert!(of(&help("train", true), "template").starts_with("--template <NAME=VALUE,..>"));
    }

    #[test]
    fn defaults_are_those_of_the_command_line() {
        assert!(of(&help("train", true), "beta").ends_with("[0.1]"));
        assert!(of(&help("train --mdp diffusion --model m --data d", true), "beta").ends_with("[2000]"));
        assert!(of(&help("train --mdp diffusion", true), "beta").ends_with("[300]"));
        assert!(of(&help("train --preset trl --model m --data d", true), "lr").ends_with("[1e-6]"));
        // Arguments that are wrong do not hide the help.
        assert!(of(&help("train --mdp diffusion --beta x", true), "beta").ends_with("[2000]"));
    }
}
