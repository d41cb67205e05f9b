//! Scores pairs of images by a denoiser.
use std::sync::Arc;

use datasets::synthetic::Split;
use mdp::EpisodeOf;
use models::denoiser::Denoiser;
use objectives::Comparison;
use policies::Policy;
use train::Source;
use train::diffusion::{DrawPlan, FromImages, ImageMdp, ImageSource, Scheme, Units};

use super::{PictureScore, PictureScores, Scored, Scores};
use crate::denoiser::{self, Loaded};
use crate::divided::in_turns;
use crate::images::{self, ImageData};
use crate::{Call, Failure, draws};

/// A denoiser and its reference, with the images and draws to score them on.
pub(crate) struct PictureScoring {
    pub(crate) loaded: Loaded,
    pub(crate) data: ImageData,
    pub(crate) mdp: ImageMdp,
    pub(crate) policy: Denoiser,
    pub(crate) reference: Option<Denoiser>,
    draws: DrawPlan,
    units: Units,
}

impl PictureScoring {
    /// Loads what the settings name; of embedded data, a split.
    ///
    /// # Errors
    /// Settings that make no sense; models and data that can't be read or do not fit each other.
    pub(crate) fn open(name: &str, split: Split, call: &Call<'_>) -> Result<Self, Failure> {
        let values = &call.values;
        let units = draws::units(values)?;
        let loaded = denoiser::load(name, values)?;
        let data = images::open_split(&loaded, split, call)?;
        let mdp = ImageMdp::full(Arc::clone(&loaded.scheduler.schedule), data.shape.size());
        let frozen = |loaded: &Loaded| -> Result<Denoiser, Failure> {
            loaded.frozen(data.shape, denoiser::acting(values, loaded, data.shape)?)
        };
        let policy = frozen(&loaded)?;
        let reference = match values.model.reference() {
            Some(other) => Some(frozen(&denoiser::load_reference(other, &loaded, values)?)?),
            None => None,
        };
        let given = match values.diffusion.draws() {
            Some(path) => Some(draws::read_given(path.as_ref(), values, mdp.schedule.len())?),
            None => None,
        };
        let draws = draws::for_scores(values, given)?;
        Ok(Self { loaded, data, mdp, policy, reference, draws, units })
    }

    /// The images as episodes of decisions with weights, at their draws.
    pub(crate) fn source<F: FromImages>(&self) -> ImageSource<'_, F> {
        let (images, mdp, draws) = (self.data.train.as_ref(), self.mdp.clone(), self.draws.clone());
        ImageSource::new(images, mdp, draws, self.units, Scheme::Forward)
            .of_prediction(self.loaded.scheduler.prediction)
    }
}

/// Scores the pairs that the settings name; of embedded data, a split.
pub(crate) fn score(call: &Call<'_>, split: Split, verb: &'static str) -> Result<Vec<Scored>, Failure> {
    let values = &call.values;
    let name = values.model.model().ok_or_else(|| Failure::usage(format!("{verb} needs `model.model`")))?;
    if values.data.data().is_none() && values.data.latents().is_none() {
        return Err(Failure::usage(format!("{verb} needs `data.data` or `data.latents`")));
    }
    let beta = super::beta(values)?;
    let opened = PictureScoring::open(name, split, call)?;
    let source = opened.source::<Comparison>();
    let bar = call.reporter.bar(verb, source.len());
    let mut lines = Vec::with_capacity(source.len());
    let work = |index: usize| {
        call.reporter.go_on()?;
        let failed = |error: policies::BoxError| Failure::failed(format!("example {index}: {error}"));
        let item = source.item(index).map_err(failed)?;
        check_pair(item.episodes.len()).map_err(failed)?;
        score_pair(&opened.mdp, &opened.policy, opened.reference.as_ref(), &item.episodes, beta).map_err(failed)
    };
    in_turns(call.reporter.ranks(), source.len(), work, |index, scores| {
        lines.push(Scored { index: index as u64, scores: Scores::Pictures(scores) });
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(lines)
}

/// Refuses a ranked list, of which there would be more than one margin.
pub(crate) fn check_pair(n: usize) -> Result<(), policies::BoxError> {
    if n <= 2 { Ok(()) } else { Err(format!("a ranked list of {n} pictures, and this is for pairs").into()) }
}

/// The summed squared errors of both sides over all draws, and beta times the weighted margin.
fn score_pair(
    mdp: &ImageMdp,
    policy: &Denoiser,
    reference: Option<&Denoiser>,
    episodes: &[EpisodeOf<ImageMdp>],
    beta: f64,
) -> Result<PictureScores, policies::BoxError> {
    let own = policy.score(mdp, episodes)?.log_probs;
    let other = reference.map(|reference| reference.score(mdp, episodes)).transpose()?.map(|scores| scores.log_probs);
    let error = |i: usize| -own.row(i).iter().sum::<f64>();
    let reference_error = |i: usize| other.as_ref().map(|scores| -scores.row(i).iter().sum::<f64>());
    let side = |i: usize| PictureScore { error: error(i), reference_error: reference_error(i) };
    let gain = |i: usize| {
        other.as_ref().map(|other| -> f64 {
            let rows = own.row(i).iter().zip(other.row(i)).zip(episodes[i].weights());
            rows.map(|((own, other), weight)| weight * (own - other)).sum()
        })
    };
    let margin = gain(0).zip(gain(1)).map(|(chosen, rejected)| beta * (chosen - rejected));
    let timestep = episodes[0].pieces.iter().filter_map(|piece| mdp.timestep(&piece.start)).collect();
    Ok(PictureScores { timestep, chosen: side(0), rejected: side(1), margin })
}
