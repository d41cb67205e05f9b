//! Denoisers.
use std::path::Path;

use ::search::OutcomeOf;
use datasets::pairs::{GeneratedPair, GeneratedResult, Modality, NewResult, PairWriter};
use mdp::diffusion::{DenoisingAction, DenoisingState, Latent};
use mdp::{EpisodeOf, Mdp as _};
use models::denoiser::{Condition, LatentShape, SamplerConfig};
use models::sampler::SamplingPlan;
use models::vae::Vae;
use policies::Persist as _;
use train::diffusion::ImageMdp;

use super::check::check_count;
use super::{Cast, methods, pairs};
use crate::denoiser::{self, Loaded};
use crate::gallery::Gallery;
use crate::sampled::{Sampled, SampledPicture, SampledResult};
use crate::sampling::diffusion::{Inputs, model_name, pair_settings};
use crate::settings::{Values, at};
use crate::{Call, Failure};

pub(super) fn search(call: &Call<'_>) -> Result<Vec<Sampled>, Failure> {
    let values = &call.values;
    let Inputs { loaded, shape, captions, prompts } = Inputs::open(call, 1)?;
    check_count(values, prompts.len())?;
    let plan = plan(values, &loaded)?;
    let acting = acting(values, &loaded, shape)?;
    let policy = loaded.frozen(shape, acting.clone())?;
    let cast = Cast::of((model_name(values), policy), values, |field, name| {
        denoiser::load_alike(name, field, &loaded, values)?.frozen(shape, acting.clone())
    })?;
    let mdp: ImageMdp = plan.problem(shape.size());
    let start = |prompt: &String| Ok(mdp.start(&captions.condition(prompt)?));
    let starts = prompts.iter().map(start).collect::<Result<Vec<DenoisingState<Condition>>, Failure>>()?;
    // The noise, and the steps.
    let longest = vec![plan.timesteps.len() + 1; starts.len()];
    let (starts, vae) = ((&starts[..], &longest[..]), loaded.vae.as_deref());
    if let Some(folder) = values.label.pairs() {
        let settings = pair_settings(values, &loaded, [Some(cast.policy.fingerprint()?), None]);
        let settings = pairs::with_search(settings, values, &cast, |model| vec![model])?;
        let create = || PairWriter::create(Path::new(folder), Modality::Diffusion, settings, Some(shape));
        let mut writer = call.reporter.ranks().is_leader().then(create).transpose()?;
        let done = |i: usize, outcome| push_pairs(values, writer.as_mut(), (i, &prompts[i]), &outcome, (vae, shape));
        methods::each(call, &mdp, &cast, starts, |running| running.named(2), done)?;
        pairs::finish(call, writer, (prompts.len() * values.sample.n(), Path::new(folder)))?;
        return Ok(Vec::new());
    }
    let outcomes = methods::all(call, &mdp, &cast, starts, |running| running.named(2))?;
    for outcome in &outcomes {
        check_found(values, outcome.found.iter().any(|found| found.is_finished))?;
    }
    let Some(out) = call.out() else { return Ok(Vec::new()) };
    let mut gallery = Gallery::create(out)?;
    for (i, (prompt, outcome)) in prompts.iter().zip(&outcomes).enumerate() {
        for (j, (found, numbers)) in methods::described(values, outcome).enumerate() {
            let pixels = denoiser::decode(vae, shape, &image(&found.episode)?)?;
            gallery.push((&format!("{i:05}-{j}.png"), prompt), &pixels, |image| {
                let picture = SampledPicture { prompt: prompt.clone(), image, sample: j, log_prob: None };
                Sampled { result: SampledResult::Picture(picture), search: Some(numbers) }
            })?;
        }
    }
    gallery.finish(call.reporter)
}

/// Adds the pairs of a prompt, of the pictures that were finished.
fn push_pairs(
    values: &Values,
    writer: Option<&mut PairWriter>,
    (i, prompt): (usize, &str),
    outcome: &OutcomeOf<ImageMdp>,
    (vae, shape): (Option<&Vae>, LatentShape),
) -> Result<(), Failure> {
    let Some(writer) = writer else { return Ok(()) };
    let finished: Vec<_> = outcome.found.iter().filter(|found| found.is_finished).cloned().collect();
    check_found(values, !finished.is_empty())?;
    for sides in pairs::sides(&finished, values.sample.n()) {
        let [a, b] = sides.map(|found| {
            let latent = image(&found.episode)?;
            Ok::<_, Failure>((denoiser::decode(vae, shape, &latent)?, latent))
        });
        let sides = [a?, b?];
        let [a, b] = sides.each_ref().map(|(picture, latent)| GeneratedResult {
            refined: None,
            made: NewResult::Image { picture, latent },
            seed: i as u64,
            log_probs: None,
        });
        writer.push(&GeneratedPair { request: prompt.to_owned(), a, b })?;
    }
    Ok(())
}

/// The steps, some of which leave something to chance.
pub(super) fn plan(values: &Values, loaded: &Loaded) -> Result<SamplingPlan, Failure> {
    if !denoiser::plan(values, loaded)?.sampling.is_stochastic() {
        let (eta, sampler) = (&at::sample::eta, &at::sample::sampler);
        return Err(Failure::usage(format!(
            "there is nothing to search: no step of this sampler draws anything; {eta} above 0 (ddim) or {sampler} ddpm do"
        )));
    }
    denoiser::scored_plan(values, loaded, "`search.method`")
}

/// The sampler, which ends where the plan's steps do.
pub(super) fn acting(values: &Values, loaded: &Loaded, shape: LatentShape) -> Result<SamplerConfig, Failure> {
    let acting = denoiser::acting(values, loaded, shape)?;
    let last = loaded.scheduler.last_level(acting.sampler)?;
    Ok(SamplerConfig { last, ..acting })
}

/// Refuses a budget that was spent before there was a picture.
pub(super) fn check_found(values: &Values, is_found: bool) -> Result<(), Failure> {
    if is_found {
        return Ok(());
    }
    let (budget, given) = (&at::search::budget, values.search.budget().unwrap_or(0));
    let (steps, field) = (values.sample.steps(), &at::sample::steps);
    Err(Failure::usage(format!("{budget} {given} is spent before there is one picture of {field} {steps}; give more")))
}

/// The last state of an episode.
fn image(episode: &EpisodeOf<ImageMdp>) -> Result<Latent, Failure> {
    match episode.pieces.last().and_then(|piece| piece.actions.last()) {
        Some(DenoisingAction::Next(latent)) => Ok(latent.clone()),
        _ => Err(Failure::failed("an episode ends without an image")),
    }
}
