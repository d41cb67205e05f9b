//! Checks of the settings of rounds.
use datasets::pairs::Modality;

use crate::hybrid::Files;
use crate::judge;
use crate::objective::{AnyObjective, choose};
use crate::sampling::MOST;
use crate::settings::{Loss, Scheme, SearchMethod, Values, at};
use crate::{Failure, denoiser, model, search, text};

/// Checks the settings before any work.
pub(super) fn check(values: &Values) -> Result<(), Failure> {
    judge::check(values)?;
    if values.rounds.pairs() == 0 {
        return Err(Failure::usage("`rounds.pairs` takes at least 1"));
    }
    for (field, n) in
        [(&at::rounds::pairs, values.rounds.pairs()), (&at::train::eval_examples, values.train.eval_examples())]
    {
        if n > MOST {
            return Err(Failure::usage(format!("{field} takes at most {MOST}: so many are drawn at once")));
        }
    }
    let models = match values.run.mdp() {
        Modality::Hybrid => {
            vec![(&at::hybrid::refiner, values.hybrid.refiner()), (&at::hybrid::generator, values.hybrid.generator())]
        }
        Modality::Token | Modality::Diffusion => vec![(&at::model::model, values.model.model())],
    };
    for (field, model) in models {
        match model {
            None => return Err(Failure::usage(format!("{field} is needed: what the rounds begin with"))),
            Some(name) if name.ends_with("-untrained") => {
                let text =
                    format!("{field} {name} is drawn from `run.seed`, and every round has its own; name a folder");
                return Err(Failure::usage(text));
            }
            Some(_) => {}
        }
    }
    check_candidates(values)?;
    if values.objective.name() == Loss::Sft {
        return Err(Failure::usage(
            "`objective.name` sft has no use for judgements; `rounds.rounds` are for the DPO family",
        ));
    }
    if values.diffusion.scheme() == Scheme::Trajectory {
        return Err(Failure::usage("`rounds.rounds` make finished images: `diffusion.scheme` forward or half"));
    }
    Ok(())
}

/// Checks that the two answers of a pair are made in a way that can differ.
fn check_candidates(values: &Values) -> Result<(), Failure> {
    let search = values.sample.search();
    if let Some(method) = search {
        search::check_for_pairs(values, method)?;
    }
    let draws = search.is_none_or(SearchMethod::draws);
    if values.run.mdp() == Modality::Token && values.sample.temperature() == 0.0 && draws {
        return Err(Failure::usage("`sample.temperature` 0 says the same twice: rounds need chance"));
    }
    Ok(())
}

/// Loads the models once, so that load errors are reported before a folder is made, and fits lengths to them.
pub(super) fn fit(values: &mut Values) -> Result<(), Failure> {
    let name = values.model.model().unwrap_or_default().to_owned();
    match values.run.mdp() {
        Modality::Diffusion => {
            super::super::diffusion::check_settings(values, false)?;
            let loaded = denoiser::load(&name, values)?;
            let shape = loaded.shape(values)?;
            let acting = denoiser::acting(values, &loaded, shape)?;
            denoiser::learner(&loaded, shape, acting, values)?;
            if values.sample.search().is_some() {
                search::check_denoiser(values, &loaded)?;
            }
            if let AnyObjective::Labels(_) | AnyObjective::Rankings(_) = choose(values)? {
                return Err(Failure::usage("images come in pairs: `objective.name` dpo and its like"));
            }
        }
        Modality::Hybrid => {
            super::super::hybrid::objective(values)?;
            let files = Files::load(values)?;
            if let Some(method) = values.sample.search() {
                search::check_refiner(values, method, &files)?;
            }
            let acting = denoiser::acting(values, &files.generator, files.shape)?;
            denoiser::learner(&files.generator, files.shape, acting, values)?;
            model::learner(files.refiner, values)?;
        }
        Modality::Token => {
            choose(values)?;
            let files = model::load(&name, values)?;
            text::fit_lengths(values, &files)?;
            text::tokenise(&files, values)?;
            if let Some(method) = values.sample.search() {
                search::check_language_model(values, method, (&name, &files))?;
            }
            model::learner(files, values)?;
        }
    }
    judge::check_for(&judge::without_template(values), values.run.mdp())?;
    super::super::settings(values)?;
    model::optimizer(values).map(drop)
}
