//! `score`.
pub(crate) mod diffusion;
pub(crate) mod hybrid;
mod token;

use std::path::Path;

use serde_json::Value;

use crate::settings::{Modality, Values};
use crate::{Call, Failure, denoiser};

/// Scores every example of a data set: a line for each, also written to `run.out` where that names a file.
///
/// # Errors
/// Invalid settings; files that can't be read or written.
pub fn score(mut call: Call<'_>) -> Result<Vec<Value>, Failure> {
    if call.values.run.mdp() != Modality::Token {
        // The config file of a training run may set another share.
        call.values.set(|settings| settings.data.eval_share = 0.0);
    }
    match call.values.run.mdp() {
        Modality::Token => token::score(&call),
        Modality::Hybrid => hybrid::score(&mut call),
        Modality::Diffusion => {
            call.values.preset(|settings| settings.objective.beta = denoiser::USUAL_BETA);
            diffusion::score(&call)
        }
    }
}

/// The timesteps of a pair's draws: a number for one draw, else a list.
fn timesteps(drawn: impl IntoIterator<Item = usize>) -> Value {
    let drawn: Vec<usize> = drawn.into_iter().collect();
    if let [one] = drawn[..] { one.into() } else { drawn.into() }
}

/// Writes lines to a file atomically, if one is named.
fn write_lines(out: Option<&Path>, lines: &[Value]) -> Result<(), Failure> {
    Ok(out.map_or(Ok(()), |out| train::write_lines(out, lines))?)
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
