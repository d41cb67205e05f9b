//! Scores hybrid pairs by a refiner and a generator.
use std::path::PathBuf;

use mdp::hybrid::{Half, Runs};
use mdp::{EpisodeOf, Steps};
use objectives::Comparison;
use policies::{BoxError, Pair, Policy};
use serde_json::{Value, json};
use train::diffusion::{ImageSource, Scheme};
use train::hybrid::HybridSource;
use train::token::TokenSource;
use train::{Source, can_write};

use super::{timesteps, write_lines};
use crate::hybrid::{Files, Frozen, NAMES, PromptedMdp, data, weights};
use crate::{Call, Failure, denoiser, draws};

pub(super) fn score(call: &mut Call<'_>) -> Result<Vec<Value>, Failure> {
    if call.values.data.data().is_none() {
        return Err(Failure::usage("score needs `data.data`: a pair folder, or hybrid records"));
    }
    let out = call.values.run.out().map(PathBuf::from);
    out.as_deref().map_or(Ok(()), can_write)?;
    crate::hybrid::general_presets(&mut call.values);
    let (beta, gamma) = weights(&call.values)?;
    let files = Files::load(&mut call.values)?;
    let values = &call.values;
    let (mdp, units) = (files.mdp()?, draws::units(values)?);
    let opened = data::open(&files, &mdp.handoff, call, None)?;
    let acting = denoiser::acting(values, &files.generator, files.shape)?;
    let policy = Pair::new(files.refiner.clone().frozen()?, files.generator.frozen(files.shape, acting)?);
    let named = [values.hybrid.refiner_reference(), values.hybrid.generator_reference()].map(|name| name.is_some());
    let reference = if named == [false; 2] { None } else { Some(files.reference(values)?) };
    let shape = files.shape;
    let given = match values.diffusion.draws() {
        Some(path) => {
            Some(draws::read_given_for(path.as_ref(), (opened.train.len(), shape), mdp.inner.schedule.len())?)
        }
        None => None,
    };
    let draws = draws::for_scores(values, given)?;
    let words = TokenSource::<Comparison>::new(&opened.train, mdp.outer.max_length);
    let pictures = ImageSource::<Comparison>::new(&opened.train, mdp.inner.clone(), draws, units, Scheme::Forward)
        .of_prediction(files.generator.scheduler.prediction);
    let source = HybridSource::new(&mdp, (words, pictures), (beta, gamma), NAMES)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let bar = call.reporter.bar("score", source.len());
    let mut lines = Vec::with_capacity(source.len());
    for index in 0..source.len() {
        let failed = |error: BoxError| Failure::failed(format!("pair {index}: {error}"));
        let episodes = source.item(index).map_err(failed)?.episodes;
        lines.push(line(index, &mdp, &policy, reference.as_ref(), &episodes).map_err(failed)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    write_lines(out.as_deref(), &lines)?;
    Ok(lines)
}

/// Scores the episodes of a pair by both halves, with each half's margin.
fn line(
    index: usize,
    mdp: &PromptedMdp,
    policy: &dyn Policy<PromptedMdp>,
    reference: Option<&Frozen>,
    episodes: &[EpisodeOf<PromptedMdp>],
) -> Result<Value, BoxError> {
    let (own, runs) = (policy.score(mdp, episodes)?.log_probs, Runs::of(episodes));
    let (own_words, own_errors) = runs.unweave(&own);
    let (weigh_words, weigh_errors) = runs.unweave(&mdp::weights(episodes));
    let other = reference.map(|reference| reference.score(mdp, episodes)).transpose()?;
    let other = other.map(|other| runs.unweave(&other.log_probs));
    let side = |i: usize| {
        json!({
            "log_probs": own_words.row(i), "error": -own_errors.row(i).iter().sum::<f64>(),
            "reference_log_probs": other.as_ref().map(|(words, _)| words.row(i)),
            "reference_error": other.as_ref().map(|(_, errors)| -errors.row(i).iter().sum::<f64>()),
        })
    };
    let margins = other
        .as_ref()
        .map(|(words, errors)| (gain(&own_words, words, &weigh_words), gain(&own_errors, errors, &weigh_errors)));
    let drawn = timesteps(episodes[0].pieces.iter().filter_map(|piece| match &piece.start {
        Half::Inner(state) => mdp.inner.timestep(state),
        Half::Outer(_) => None,
    }));
    Ok(json!({
        "index": index, "timestep": drawn, "chosen": side(0), "rejected": side(1),
        "margin_refiner": margins.map_or(Value::Null, |(words, _)| words.into()),
        "margin_generator": margins.map_or(Value::Null, |(_, pictures)| pictures.into()),
        "margin": margins.map_or(Value::Null, |(words, pictures)| (words + pictures).into()),
    }))
}

/// The weighted log-ratio of the first episode minus that of the second.
fn gain(own: &Steps, other: &Steps, weights: &Steps) -> f64 {
    let sum = |i: usize| -> f64 {
        own.row(i).iter().zip(other.row(i)).zip(weights.row(i)).map(|((p, r), w)| w * (p - r)).sum()
    };
    sum(0) - sum(1)
}
