//! `score`.
mod diffusion;
mod hybrid;
mod token;

use std::path::Path;
use std::process::ExitCode;

use recipes::settings::Modality;
use serde_json::Value;

use crate::{Call, Failure, console, denoiser};

/// Scores every example of a data set.
pub(crate) fn score(mut call: Call) -> Result<ExitCode, Failure> {
    if call.values.run.mdp() != Modality::Token {
        // A config file of a training run may say otherwise.
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

/// The timesteps of a pair's draws: a number where there is one, as with most, else a list.
fn timesteps(drawn: impl IntoIterator<Item = usize>) -> Value {
    let drawn: Vec<usize> = drawn.into_iter().collect();
    if let [one] = drawn[..] { one.into() } else { drawn.into() }
}

/// Lines to a file, whole or not at all, or to stdout.
fn write_lines(out: Option<&Path>, lines: &[Value]) -> Result<(), Failure> {
    match out {
        None => lines.iter().for_each(|line| console::result(&line.to_string())),
        Some(out) => train::write_lines(out, lines)?,
    }
    Ok(())
}
