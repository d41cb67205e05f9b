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

/// The most pictures or answers that are drawn at once.
const MOST: usize = 16_384;

/// More than can be held is refused before anything is drawn.
fn check_count(prompts: usize, n: usize) -> Result<(), Failure> {
    if prompts.checked_mul(n).is_some_and(|all| all <= MOST) {
        return Ok(());
    }
    let text = format!(
        "--n {n} of {prompts} prompts is more than the {MOST} that are drawn at once; ask for fewer, with another \
         --seed each time"
    );
    Err(Failure::usage(text))
}
