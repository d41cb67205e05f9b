//! Draws of answers and pictures, by kind of problem.
pub(crate) mod chat;
pub(crate) mod diffusion;
pub(crate) mod hybrid;
mod prompts;
mod stop;
pub(crate) mod token;

use std::path::Path;

use crate::Failure;

pub(crate) use prompts::{embedded_prompts, read_prompts};
pub(crate) use token::{
    EncodedPrompts, Room, candidate, continued_text, draw, model_name, pair_settings, prompt_text, response_text,
};

/// A line about a finished folder of pairs.
pub(crate) fn describe_pairs(n: usize, folder: &Path) -> String {
    format!("{n} pairs in {}", folder.display())
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
