//! `score`.
pub(crate) mod diffusion;
pub(crate) mod hybrid;
mod scored;
mod token;

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
    let mut call = call.untyped();
    if call.values.run.mdp() != Modality::Token {
        // The config file of a training run may set another share.
        call.values.set(|settings| settings.data.eval_share = 0.0);
    }
    match call.values.run.mdp() {
        Modality::Token => token::score(&call),
        Modality::Hybrid => hybrid::score(&mut call),
        Modality::Diffusion => {
            denoiser::general_presets(&mut call.values);
            diffusion::score(&call)
        }
    }
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
