//! Scores hybrid pairs by a refiner and a generator.
use datasets::synthetic::Split;
use mdp::hybrid::{Half, Runs};
use mdp::{EpisodeOf, Steps};
use objectives::Comparison;
use policies::{BoxError, Pair, Policy};
use train::Source;
use train::diffusion::{ImageSource, Scheme, Units};
use train::hybrid::HybridSource;
use train::token::TokenSource;

use super::{RefinedScore, RefinedScores, Scored, Scores};
use crate::divided::in_turns;
use crate::hybrid::{Files, Frozen, Models, NAMES, PromptedMdp, data, weights};
use crate::settings::Values;
use crate::{Call, Failure, denoiser, draws};

/// The pairs of a hybrid as episodes of both halves.
pub(crate) type Pairs<'a> =
    HybridSource<'a, TokenSource<'a, Comparison>, ImageSource<'a, Comparison>, models::Prompted>;

/// A refiner and a generator and their references, which pairs are scored by.
pub(crate) struct Halves {
    pub(crate) files: Files,
    pub(crate) mdp: PromptedMdp,
    pub(crate) policy: Models,
    pub(crate) reference: Option<Frozen>,
    weights: (f64, f64),
    units: Units,
}

impl Halves {
    /// Loads what the settings name.
    ///
    /// # Errors
    /// Settings that make no sense; models that can't be read or do not fit each other.
    pub(crate) fn load(call: &mut Call<'_>) -> Result<Self, Failure> {
        crate::hybrid::general_presets(&mut call.values);
        let weights = weights(&call.values)?;
        let files = Files::load(&mut call.values)?;
        let values = &call.values;
        let (mdp, units) = (files.mdp()?, draws::units(values)?);
        let acting = denoiser::acting(values, &files.generator, files.shape)?;
        let policy = Pair::new(files.refiner.clone().frozen()?, files.generator.frozen(files.shape, acting)?);
        let named = [values.hybrid.refiner_reference(), values.hybrid.generator_reference()].map(|name| name.is_some());
        let reference = if named == [false; 2] { None } else { Some(files.reference(values)?) };
        Ok(Self { files, mdp, policy, reference, weights, units })
    }

    /// Pairs as episodes, with the draws that the settings ask for.
    ///
    /// # Errors
    /// Draws that do not fit the pairs.
    pub(crate) fn source<'a>(&'a self, pairs: &'a data::PairData<'a>, values: &Values) -> Result<Pairs<'a>, Failure> {
        let inner = &self.mdp.inner;
        let given = match values.diffusion.draws() {
            Some(path) => {
                Some(draws::read_given_for(path.as_ref(), (pairs.len(), self.files.shape), inner.schedule.len())?)
            }
            None => None,
        };
        let draws = draws::for_scores(values, given)?;
        let words = TokenSource::new(pairs, self.mdp.outer.max_length);
        let pictures = ImageSource::new(pairs, inner.clone(), draws, self.units, Scheme::Forward)
            .of_prediction(self.files.generator.scheduler.prediction);
        HybridSource::new(&self.mdp, (words, pictures), self.weights, NAMES)
            .map_err(|error| Failure::failed(error.to_string()))
    }
}

/// Scores the pairs that the settings name; of embedded data, a split.
pub(crate) fn score(call: &mut Call<'_>, split: Split, verb: &'static str) -> Result<Vec<Scored>, Failure> {
    if call.values.data.data().is_none() {
        return Err(Failure::usage(format!("{verb} needs `data.data`: a pair folder, or hybrid records")));
    }
    let halves = Halves::load(call)?;
    let opened = data::open_split(&halves.files, &halves.mdp.handoff, split, call)?;
    let source = halves.source(&opened.train, &call.values)?;
    let bar = call.reporter.bar(verb, source.len());
    let mut lines = Vec::with_capacity(source.len());
    let work = |index: usize| {
        call.reporter.go_on()?;
        let failed = |error: BoxError| Failure::failed(format!("pair {index}: {error}"));
        let episodes = source.item(index).map_err(failed)?.episodes;
        score_pair(&halves.mdp, &halves.policy, halves.reference.as_ref(), &episodes).map_err(failed)
    };
    in_turns(call.reporter.ranks(), source.len(), work, |index, scores| {
        lines.push(Scored { index: index as u64, scores: Scores::Refined(scores) });
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(lines)
}

/// Scores the episodes of a pair by both halves, with each half's margin.
fn score_pair(
    mdp: &PromptedMdp,
    policy: &dyn Policy<PromptedMdp>,
    reference: Option<&Frozen>,
    episodes: &[EpisodeOf<PromptedMdp>],
) -> Result<RefinedScores, BoxError> {
    let (own, runs) = (policy.score(mdp, episodes)?.log_probs, Runs::of(episodes));
    let (own_words, own_errors) = runs.unweave(&own);
    let (weigh_words, weigh_errors) = runs.unweave(&mdp::weights(episodes));
    let other = reference.map(|reference| reference.score(mdp, episodes)).transpose()?;
    let other = other.map(|other| runs.unweave(&other.log_probs));
    let side = |i: usize| RefinedScore {
        log_probs: own_words.row(i).to_vec(),
        error: -own_errors.row(i).iter().sum::<f64>(),
        reference_log_probs: other.as_ref().map(|(words, _)| words.row(i).to_vec()),
        reference_error: other.as_ref().map(|(_, errors)| -errors.row(i).iter().sum::<f64>()),
    };
    let margins = other
        .as_ref()
        .map(|(words, errors)| (gain(&own_words, words, &weigh_words), gain(&own_errors, errors, &weigh_errors)));
    let timestep = episodes[0].pieces.iter().filter_map(|piece| match &piece.start {
        Half::Inner(state) => mdp.inner.timestep(state),
        Half::Outer(_) => None,
    });
    Ok(RefinedScores {
        timestep: timestep.collect(),
        chosen: side(0),
        rejected: side(1),
        margin_refiner: margins.map(|(words, _)| words),
        margin_generator: margins.map(|(_, pictures)| pictures),
        margin: margins.map(|(words, pictures)| words + pictures),
    })
}

/// The weighted log-ratio of the first episode minus that of the second.
fn gain(own: &Steps, other: &Steps, weights: &Steps) -> f64 {
    let sum = |i: usize| -> f64 {
        own.row(i).iter().zip(other.row(i)).zip(weights.row(i)).map(|((p, r), w)| w * (p - r)).sum()
    };
    sum(0) - sum(1)
}
