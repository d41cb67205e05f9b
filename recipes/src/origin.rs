//! What a model came from: the reference of a run or an adapter.
use std::path::Path;

use crate::settings::{Modality, Values};
use crate::{Failure, denoiser, model};

/// The settings of a run; `None` if the name is no run's folder.
///
/// # Errors
/// Its config file can't be read.
pub(crate) fn run_of(name: &str) -> Result<Option<Values>, Failure> {
    let config = Path::new(name).join("config.toml");
    if !config.is_file() {
        return Ok(None);
    }
    let mut run = Values::default();
    run.merge_file(&config)?;
    Ok(Some(run))
}

/// What a model began with or stayed close to: the reference of a run, or the base of an adapter.
///
/// # Errors
/// Unreadable settings of a run or an adapter.
pub(crate) fn origin_of(name: &str, mdp: Modality) -> Result<Option<String>, Failure> {
    if let Some(run) = run_of(name)?
        && let Some(start) = run.model.reference().or(run.model.model())
    {
        return Ok(Some(start.to_owned()));
    }
    let base = match mdp {
        Modality::Diffusion => denoiser::base_of(name)?,
        Modality::Token | Modality::Hybrid => model::base_of(name)?,
    };
    Ok(Some(base).filter(|base| base != name))
}
