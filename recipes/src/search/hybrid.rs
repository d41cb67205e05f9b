//! A refiner and a generator together.
use std::path::Path;
use std::sync::Arc;

use ::search::{OutcomeOf, Refinements, Sampling};
use mdp::hybrid::Half;
use policies::Pair;
use serde_json::{Value, json};

use super::check::check_count;
use super::diffusion::{acting, check_found};
use super::{Cast, methods};
use crate::gallery::Gallery;
use crate::hybrid::eval::{HybridSampler, Request, SamplingMdp};
use crate::hybrid::{Files, Frozen};
use crate::sample::hybrid::{presets, requests};
use crate::settings::{SearchMethod, SearchScore, Values, at};
use crate::{Call, Failure};

pub(super) fn search(call: &mut Call<'_>) -> Result<Vec<Value>, Failure> {
    let prompts = presets(&mut call.values)?;
    let files = Files::load(&mut call.values)?;
    find_references(&mut call.values)?;
    let call = &*call;
    let values = &call.values;
    let whole = files.mdp()?;
    let requests = requests(&prompts, call)?;
    check_count(values, requests.len())?;
    let sampler = HybridSampler::new(&files, &whole, call)?;
    let cast = cast(values, &files, &sampler)?;
    let mut mdp = sampler.mdp.clone();
    mdp.outer.vocabulary = mdp.outer.vocabulary.min(files.refiner.tokenizer()?.n_tokens() as u32);
    let requests: Vec<Request> = requests.iter().zip(0..).map(|(text, i)| Request::number(text, i)).collect();
    let starts = requests.iter().map(|request| sampler.start(request)).collect::<Result<Vec<_>, _>>()?;
    let steps = mdp.inner.timesteps.len() + 1;
    let longest = starts.iter().map(|start| match start {
        Half::Outer(state) => mdp.outer.max_length - state.len() + steps,
        Half::Inner(_) => steps,
    });
    let longest: Vec<usize> = longest.collect();
    let candidates = mdp.outer.eos.len().saturating_add(1).max(2);
    let outcomes = methods::all(call, &mdp, &cast, (&starts, &longest), |running| {
        if values.search.method() != SearchMethod::Refinements {
            return running.named(candidates);
        }
        let outer = methods::beam(values, values.search.width(), candidates);
        let inner = Sampling { n: values.search.pictures() };
        let mut outcomes = running.by(&Refinements { outer: &outer, inner: &inner })?;
        for outcome in &mut outcomes {
            outcome.found.truncate(values.sample.n());
        }
        Ok(outcomes)
    })?;
    for outcome in &outcomes {
        check_found(values, outcome.found.iter().any(|found| found.is_finished))?;
    }
    write(call, &sampler, &mdp, &requests, &outcomes)?;
    Ok(Vec::new())
}

/// The pictures with their refined prompts.
fn write<'a>(
    call: &Call<'_>,
    sampler: &HybridSampler<'a>,
    mdp: &SamplingMdp<'a>,
    requests: &[Request],
    outcomes: &[OutcomeOf<SamplingMdp<'a>>],
) -> Result<(), Failure> {
    let values = &call.values;
    let mut gallery = Gallery::create(Path::new(values.run.out().unwrap_or_default()))?;
    for (i, (request, outcome)) in requests.iter().zip(outcomes).enumerate() {
        for (j, (found, numbers)) in methods::described(values, outcome).enumerate() {
            let made = sampler.generation(request, &mdp.cut(found.episode.clone())?)?;
            let caption = format!("{}: {}", request.text, made.refined);
            gallery.push((&format!("{i:05}-{j}.png"), &caption), &made.picture, |image| {
                let line = json!({ "prompt": request.text, "refined": made.refined, "image": image, "sample": j });
                methods::line(line, numbers)
            })?;
        }
    }
    gallery.finish(call.reporter)
}

/// The references of an implicit reward: those that are named, else what a run began with or stayed close to.
fn find_references(values: &mut Values) -> Result<(), Failure> {
    if values.search.score() != SearchScore::Implicit {
        return Ok(());
    }
    let config = values.model.model().map(|run| Path::new(run).join("config.toml")).filter(|config| config.is_file());
    if let Some(config) = config {
        let mut run = Values::default();
        run.merge_file(&config)?;
        let started = [
            run.hybrid.refiner_reference().or(run.hybrid.refiner()).map(str::to_owned),
            run.hybrid.generator_reference().or(run.hybrid.generator()).map(str::to_owned),
        ];
        let [refiner, generator] = started;
        values.preset(|settings| {
            settings.hybrid.refiner_reference = refiner;
            settings.hybrid.generator_reference = generator;
        });
    }
    if values.hybrid.refiner_reference().is_none() && values.hybrid.generator_reference().is_none() {
        let (score, refiner) = (&at::search::score, &at::hybrid::refiner_reference);
        let text = format!("{score} implicit needs {refiner}, {} or both", at::hybrid::generator_reference);
        return Err(Failure::usage(text));
    }
    Ok(())
}

/// Both halves as they are, and as the references that the settings name.
fn cast(values: &Values, files: &Files, sampler: &HybridSampler<'_>) -> Result<Cast<Frozen>, Failure> {
    let acting = acting(values, &files.generator, files.shape)?;
    let refiner = files.refiner.clone().frozen()?.acting(sampler.sampling.clone());
    let generator = files.generator.frozen(files.shape, acting.clone())?;
    let policy = Pair::new(Arc::new(refiner), Arc::new(generator));
    let reference = match values.search.score() {
        SearchScore::Implicit => Some(files.reference_acting(values, acting)?),
        SearchScore::Likelihood | SearchScore::Ratio => None,
    };
    Ok(Cast { policy, reference, guides: None, verifier: None })
}
