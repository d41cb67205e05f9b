//! `sample`.
use std::path::Path;

use crate::sampled::Sampled;
use crate::settings::{Modality, SamplingSettings, Values};
use crate::{Call, Failure, sampling, search};

/// Draws answers or pictures, or searches for them where `sample.search` names a method.
///
/// Answers are also written to `run.out` where that names a file, pictures always. Pairs are written to `label.pairs`, and
/// nothing is returned.
///
/// # Errors
/// Settings that make no sense, and files that can't be read or written.
pub fn sample(call: Call<'_, impl SamplingSettings>) -> Result<Vec<Sampled>, Failure> {
    let mut call = call.found(crate::keys::SAMPLE)?;
    if call.reporter.ranks().is_leader() {
        check_pairs(&call.values)?;
    }
    if let Some(method) = call.values.sample.search() {
        return search::in_place_of_draws(call, method);
    }
    match call.values.run.mdp() {
        Modality::Diffusion => sampling::diffusion::sample(&call),
        Modality::Hybrid => sampling::hybrid::sample(&mut call),
        Modality::Token => sampling::token::sample(&call),
    }
}

/// Checks `label.pairs` before anything is loaded.
fn check_pairs(values: &Values) -> Result<(), Failure> {
    let Some(folder) = values.label.pairs() else { return Ok(()) };
    if values.sample.n() == 0 || values.sample.limit() == Some(0) {
        return Err(Failure::usage("`sample.n` and `sample.limit` take at least 1"));
    }
    if Path::new(folder).exists() {
        return Err(Failure::failed(format!("{folder} exists; pairs are written to a new folder")));
    }
    Ok(())
}
