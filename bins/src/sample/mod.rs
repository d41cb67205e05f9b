//! `sample`.
mod diffusion;
mod hybrid;
mod prompts;
mod token;

use std::process::ExitCode;

use crate::{Call, Failure};

pub(crate) use token::draw;

/// Draws answers or pictures.
pub(crate) fn sample(mut call: Call) -> Result<ExitCode, Failure> {
    if call.values.text("label.pairs").is_some() && call.values.word("run.mdp") != "hybrid" {
        return Err(Failure::usage("--pairs is for --mdp hybrid"));
    }
    match call.values.word("run.mdp") {
        "diffusion" => diffusion::sample(&call),
        "hybrid" => hybrid::sample(&mut call),
        _ => token::sample(&call),
    }
}
