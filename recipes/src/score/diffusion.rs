//! Scores pairs of images by a denoiser.
use std::path::PathBuf;
use std::sync::Arc;

use mdp::EpisodeOf;
use models::denoiser::Denoiser;
use objectives::Comparison;
use policies::Policy;
use train::diffusion::{ImageMdp, ImageSource, Scheme};
use train::{Source, can_write, write_lines};

use super::{PictureScore, PictureScores, Scored, Scores};
use crate::denoiser::{self, Loaded};
use crate::{Call, Failure, draws, images};

pub(super) fn score(call: &Call<'_>) -> Result<Vec<Scored>, Failure> {
    let values = &call.values;
    let name = values.model.model().ok_or_else(|| Failure::usage("score needs `model.model`"))?;
    if values.data.data().is_none() && values.data.latents().is_none() {
        return Err(Failure::usage("score needs `data.data` or `data.latents`"));
    }
    let beta = super::beta(values)?;
    let out = values.run.out().map(PathBuf::from);
    out.as_deref().map_or(Ok(()), can_write)?;
    let units = draws::units(values)?;
    let loaded = denoiser::load(name, values)?;
    let data = images::open(&loaded, call)?;
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
    let source = ImageSource::<Comparison>::new(data.train.as_ref(), mdp.clone(), draws, units, Scheme::Forward)
        .of_prediction(loaded.scheduler.prediction);
    let bar = call.reporter.bar("score", source.len());
    let mut lines = Vec::with_capacity(source.len());
    for index in 0..source.len() {
        let failed = |error: policies::BoxError| Failure::failed(format!("example {index}: {error}"));
        let item = source.item(index).map_err(failed)?;
        let scores = score_pair(&mdp, &policy, reference.as_ref(), &item.episodes, beta).map_err(failed)?;
        lines.push(Scored { index: index as u64, scores: Scores::Pictures(scores) });
        bar.inc(1);
    }
    bar.finish_and_clear();
    out.map_or(Ok(()), |out| write_lines(&out, &lines))?;
    Ok(lines)
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
