//! `score`.
pub(crate) mod diffusion;
pub(crate) mod hybrid;
mod scored;
mod sent;
pub(crate) mod token;

use std::path::PathBuf;

use datasets::synthetic::Split;
use train::{can_write, write_lines};

pub use self::scored::{
    AnswerScore, AnswerScores, DrawnTimesteps, PictureScore, PictureScores, RefinedScore, RefinedScores, Scored,
    Scores, TextScores,
};
use crate::settings::{Modality, ScoringSettings, Values};
use crate::{Call, Failure, denoiser};

/// Scores every example of a data set; the scores are also written to `run.out` where that names a file.
///
/// # Errors
/// Invalid settings; files that can't be read or written.
pub fn score(call: Call<'_, impl ScoringSettings>) -> Result<Vec<Scored>, Failure> {
    let mut call = call.found(crate::keys::SCORE)?;
    let out = call.out().map(PathBuf::from);
    out.as_deref().map_or(Ok(()), can_write)?;
    if call.values.run.mdp() != Modality::Token {
        // The config file of a training run may set another share.
        call.values.set(|settings| settings.data.eval_share = 0.0);
    }
    let lines = match call.values.run.mdp() {
        Modality::Token => token::score(&call),
        Modality::Hybrid => hybrid::score(&mut call, Split::Train, "score"),
        Modality::Diffusion => {
            denoiser::general_presets(&mut call.values);
            diffusion::score(&call, Split::Train, "score")
        }
    }?;
    out.map_or(Ok(()), |out| write_lines(&out, &lines))?;
    Ok(lines)
}

/// beta, the strength of the pull to the reference, which multiplies margins.
pub(crate) fn beta(values: &Values) -> Result<f64, Failure> {
    let beta = values.objective.beta();
    if beta > 0.0 && beta.is_finite() {
        Ok(beta)
    } else {
        Err(Failure::usage(format!("`objective.beta` takes a positive number, not {beta}")))
    }
}
