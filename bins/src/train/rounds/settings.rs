//! Which settings rounds take.
use datasets::pairs::Modality;

use crate::hybrid::Files;
use crate::judge;
use crate::keys::MODELS;
use crate::objective::{Chosen, choose};
use crate::sample::MOST;
use crate::values::Values;
use crate::{Failure, denoiser, keys, model, text};

/// What rounds have no use for, and why.
const NOT_FOR_ROUNDS: [(&str, &str); 10] = [
    ("data.data", "rounds make their own pairs, of --prompts"),
    ("data.latents", "rounds make their own pairs, of --prompts"),
    ("data.limit", "--round-pairs says how many pairs there are"),
    ("data.format", "rounds make their own pairs"),
    ("data.split", "rounds make their own pairs"),
    ("data.eval_data", "rounds compare policies on prompts that are held out"),
    ("train.reference_cache", "every round has other pairs"),
    ("diffusion.draws", "every round has other pairs"),
    ("diffusion.trajectories", "rounds make finished images"),
    ("hybrid.compare", "it compares halves on one set of pairs"),
];

/// What means something in rounds alone is refused elsewhere.
pub(in crate::train) fn refuse_alone(values: &Values) -> Result<(), Failure> {
    if values.count("rounds.rounds") == Some(0) {
        return Err(Failure::usage("--rounds takes at least 1"));
    }
    let alone = ["rounds.pairs", "rounds.reference", "judge.judge", "sample.prompts", "sample.null_share"];
    // The embedded pairs are made as they are asked for.
    let is_made =
        values.word("run.mdp") == "hybrid" && matches!(values.text("data.data"), None | Some("builtin:chimera"));
    let alone = alone.into_iter().filter(|path| !(is_made && *path == "sample.null_share"));
    let of_answers = ["sample.temperature", "sample.top_k", "sample.top_p"];
    // A hybrid's pictures are drawn of refined prompts, whose drawing these say, in any run.
    let of_answers = of_answers.into_iter().filter(|_| values.word("run.mdp") == "token");
    match alone.chain(of_answers).find(|path| values.is_typed(path)).and_then(keys::find) {
        Some(key) => Err(Failure::usage(format!("--{} goes with --rounds", key.flag))),
        None => Ok(()),
    }
}

/// What can't be is said before anything is made.
pub(super) fn check(values: &Values) -> Result<(), Failure> {
    judge::check(values.word("judge.judge"))?;
    if values.count("rounds.pairs") == Some(0) {
        return Err(Failure::usage("--round-pairs takes at least 1"));
    }
    for (path, flag) in [("rounds.pairs", "round-pairs"), ("train.eval_examples", "eval-examples")] {
        if values.count(path).is_some_and(|n| n > MOST) {
            return Err(Failure::usage(format!("--{flag} takes at most {MOST}: so many are drawn at once")));
        }
    }
    for (path, why) in NOT_FOR_ROUNDS {
        // A switch that is off asks for nothing.
        if values.is_typed(path) && (path != "hybrid.compare" || values.switch(path)) {
            return Err(Failure::usage(format!("--{} is not for --rounds: {why}", flag(path))));
        }
    }
    let is_moved = values.word("rounds.reference") == "moved";
    if let Some((_, path)) = MODELS.into_iter().find(|(_, path)| is_moved && values.text(path).is_some()) {
        let text = format!("--{} is for all rounds alike: it goes with --round-reference fixed", flag(path));
        return Err(Failure::usage(text));
    }
    let is_hybrid = values.word("run.mdp") == "hybrid";
    for (model, _) in MODELS.into_iter().filter(|(model, _)| model.starts_with("hybrid") == is_hybrid) {
        let flag = flag(model);
        match values.text(model) {
            None => return Err(Failure::usage(format!("--{flag} is needed: what the rounds begin with"))),
            Some(name) if name.ends_with("-untrained") => {
                let text = format!("--{flag} {name} is drawn from --seed, and every round has its own; name a folder");
                return Err(Failure::usage(text));
            }
            Some(_) => {}
        }
    }
    if values.word("run.mdp") == "token" && values.number("sample.temperature") == Some(0.0) {
        return Err(Failure::usage("--temperature 0 says the same twice: rounds need chance"));
    }
    if values.word("objective.name") == "sft" {
        return Err(Failure::usage("--objective sft has no use for judgements; --rounds are for the DPO family"));
    }
    if values.word("diffusion.scheme") == "trajectory" {
        return Err(Failure::usage("--rounds make finished images: --scheme forward or half"));
    }
    Ok(())
}

/// Loads the models once, so that what can't be is said before there is a folder, and fits lengths to them.
pub(super) fn fit(values: &mut Values) -> Result<(), Failure> {
    let name = values.word("model.model").to_owned();
    match values.word("run.mdp") {
        "diffusion" => {
            super::super::diffusion::check_settings(values, false)?;
            let loaded = denoiser::load(&name, values)?;
            let shape = loaded.shape(values)?;
            let acting = denoiser::acting(values, &loaded, shape)?;
            denoiser::learner(&loaded, shape, acting, values)?;
            if let Chosen::Labels(_) | Chosen::Rankings(_) = choose(values)? {
                return Err(Failure::usage("images come in pairs: --objective dpo and its like"));
            }
        }
        "hybrid" => {
            super::super::hybrid::objective(values)?;
            let files = Files::load(values)?;
            let acting = denoiser::acting(values, &files.generator, files.shape)?;
            denoiser::learner(&files.generator, files.shape, acting, values)?;
            model::learner(files.refiner, values)?;
        }
        _ => {
            choose(values)?;
            let files = model::load(&name, values)?;
            text::fit_lengths(values, &files)?;
            text::tokenise(&files, values)?;
            model::learner(files, values)?;
        }
    }
    let modality = match values.word("run.mdp") {
        "diffusion" => Modality::Diffusion,
        "hybrid" => Modality::Hybrid,
        _ => Modality::Token,
    };
    judge::check_for(values.word("judge.judge"), modality, values.word("run.device"))?;
    super::super::settings(values)?;
    model::optimizer(values).map(drop)
}

/// What a setting is called on the command line.
fn flag(path: &'static str) -> &'static str {
    keys::find(path).map_or(path, |key| key.flag)
}
