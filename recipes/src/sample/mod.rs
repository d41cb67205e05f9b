//! `sample`.
pub(crate) mod diffusion;
pub(crate) mod hybrid;
mod prompts;
mod token;

use std::path::Path;

use crate::settings::{Modality, Values};
use crate::{Call, Failure, search};

pub(crate) use prompts::{embedded_prompts, read_prompts};
pub(crate) use token::{
    Asked, candidate, continued_text, draw, model_name, pair_settings, prompt_text, response_text, sampling,
};

/// Draws answers or pictures, or searches for them where `sample.search` names a method.
///
/// The lines of answers are also written to `run.out` where that names a file; of pictures and pairs only that is
/// written, and no line comes back.
///
/// # Errors
/// Settings that make no sense, and files that can't be read or written.
pub fn sample(mut call: Call<'_>) -> Result<Vec<serde_json::Value>, Failure> {
    check_pairs(&call.values)?;
    if let Some(method) = call.values.sample.search() {
        return search::in_place_of_draws(call, method);
    }
    match call.values.run.mdp() {
        Modality::Diffusion => diffusion::sample(&call),
        Modality::Hybrid => hybrid::sample(&mut call),
        Modality::Token => token::sample(&call),
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

/// A line about a finished folder of pairs.
pub(crate) fn describe_pairs(n: usize, folder: &Path) -> String {
    let folder = folder.display();
    format!("{n} pairs in {folder}; next: `label::Server` `label.pairs` {folder}")
}

/// Settings as the folder of pairs keeps them.
fn settings_map(settings: &serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    settings.as_object().cloned().unwrap_or_default()
}

/// The most pictures or answers that are drawn at once.
pub(crate) const MOST: usize = 16_384;

/// More than can be held is refused before anything is drawn.
pub(crate) fn check_count(prompts: usize, n: usize) -> Result<(), Failure> {
    if prompts.checked_mul(n).is_some_and(|all| all <= MOST) {
        return Ok(());
    }
    let text = format!(
        "`sample.n` {n} of {prompts} prompts is more than the {MOST} that are drawn at once; ask for fewer, with another \
         `run.seed` each time"
    );
    Err(Failure::usage(text))
}
