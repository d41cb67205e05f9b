//! Which settings rounds take.
use datasets::pairs::Modality;

use crate::hybrid::Files;
use crate::judge;
use crate::keys::MODELS;
use crate::objective::{Chosen, choose};
use crate::sample::MOST;
use crate::values::Values;
use crate::{Failure, denoiser, keys, model, text};

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
