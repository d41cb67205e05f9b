//! Which settings rounds take.
use datasets::pairs::Modality;

use crate::hybrid::Files;
use crate::judge;
use crate::objective::{Chosen, choose};
use crate::sample::MOST;
use crate::settings::{Loss, Scheme, Values};
use crate::{Failure, denoiser, model, text};

/// What can't be is said before anything is made.
pub(super) fn check(values: &Values) -> Result<(), Failure> {
    judge::check(values.judge.judge())?;
    if values.rounds.pairs() == 0 {
        return Err(Failure::usage("--round-pairs takes at least 1"));
    }
    for (flag, n) in [("round-pairs", values.rounds.pairs()), ("eval-examples", values.train.eval_examples())] {
        if n > MOST {
            return Err(Failure::usage(format!("--{flag} takes at most {MOST}: so many are drawn at once")));
        }
    }
    let models = match values.run.mdp() {
        Modality::Hybrid => vec![("refiner", values.hybrid.refiner()), ("generator", values.hybrid.generator())],
        Modality::Token | Modality::Diffusion => vec![("model", values.model.model())],
    };
    for (flag, model) in models {
        match model {
            None => return Err(Failure::usage(format!("--{flag} is needed: what the rounds begin with"))),
            Some(name) if name.ends_with("-untrained") => {
                let text = format!("--{flag} {name} is drawn from --seed, and every round has its own; name a folder");
                return Err(Failure::usage(text));
            }
            Some(_) => {}
        }
    }
    if values.run.mdp() == Modality::Token && values.sample.temperature() == 0.0 {
        return Err(Failure::usage("--temperature 0 says the same twice: rounds need chance"));
    }
    if values.objective.name() == Loss::Sft {
        return Err(Failure::usage("--objective sft has no use for judgements; --rounds are for the DPO family"));
    }
    if values.diffusion.scheme() == Scheme::Trajectory {
        return Err(Failure::usage("--rounds make finished images: --scheme forward or half"));
    }
    Ok(())
}

/// Loads the models once, so that what can't be is said before there is a folder, and fits lengths to them.
pub(super) fn fit(values: &mut Values) -> Result<(), Failure> {
    let name = values.model.model().unwrap_or_default().to_owned();
    match values.run.mdp() {
        Modality::Diffusion => {
            super::super::diffusion::check_settings(values, false)?;
            let loaded = denoiser::load(&name, values)?;
            let shape = loaded.shape(values)?;
            let acting = denoiser::acting(values, &loaded, shape)?;
            denoiser::learner(&loaded, shape, acting, values)?;
            if let Chosen::Labels(_) | Chosen::Rankings(_) = choose(values)? {
                return Err(Failure::usage("images come in pairs: --objective dpo and its like"));
            }
        }
        Modality::Hybrid => {
            super::super::hybrid::objective(values)?;
            let files = Files::load(values)?;
            let acting = denoiser::acting(values, &files.generator, files.shape)?;
            denoiser::learner(&files.generator, files.shape, acting, values)?;
            model::learner(files.refiner, values)?;
        }
        Modality::Token => {
            choose(values)?;
            let files = model::load(&name, values)?;
            text::fit_lengths(values, &files)?;
            text::tokenise(&files, values)?;
            model::learner(files, values)?;
        }
    }
    judge::check_for(values.judge.judge(), values.run.mdp(), values.run.device())?;
    super::super::settings(values)?;
    model::optimizer(values).map(drop)
}
