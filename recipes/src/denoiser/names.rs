//! Resolves names of denoisers.
use std::path::{Path, PathBuf};

use models::formats::{DiffusersFolder, denoiser_lora_base, is_denoiser_lora};

use crate::embedded::{ModelKind, is_model};
use crate::settings::Values;
use crate::{Failure, adapters, torchscript};

/// The two parts of `base+adapter`, or of a run that trained adapters.
pub(super) fn base_and_adapter(name: &str) -> Result<(String, Option<PathBuf>), Failure> {
    if let Some((base, adapter)) = split(name) {
        return Ok((base.to_owned(), Some(PathBuf::from(adapter))));
    }
    let adapter = Path::new(name);
    // A whole model folder may also hold an adapter file; its plain name means the model without it.
    if DiffusersFolder::is_one(adapter) || !is_denoiser_lora(adapter) {
        return Ok((name.to_owned(), None));
    }
    if let Some(base) = named_base(adapter)? {
        return Ok((base, Some(adapter.to_owned())));
    }
    let settings = adapter.join("config.toml");
    if !settings.is_file() {
        let text = format!("{name}: an adapter alone, whose base is not named or not here; name both, as BASE+{name}");
        return Err(Failure::usage(text));
    }
    let mut values = Values::default();
    values.merge_file(&settings)?;
    Ok((base_of(values.model.model().unwrap_or_default())?, Some(adapter.to_owned())))
}

/// Whether a name is that of a denoiser rather than a language model.
pub(crate) fn is_one(name: &str) -> bool {
    if torch::find(name).is_some() {
        return torchscript::denoises(name);
    }
    match base_and_adapter(name) {
        Ok((base, _)) => is_model(&base, ModelKind::Denoiser) || DiffusersFolder::is_one(Path::new(&base)),
        Err(_) => Path::new(name).join(LORA_FILE).is_file(),
    }
}

/// Splits `base+adapter`; a path that contains `+` itself is split where both sides exist.
fn split(name: &str) -> Option<(&str, &str)> {
    let at = |at: usize| (&name[..at], &name[at + 1..]);
    let mut places = name.match_indices('+').map(|(place, _)| at(place));
    if Path::new(name).exists() {
        return None;
    }
    places
        .find(|(base, adapter)| adapters::base_exists(base) && Path::new(adapter).exists())
        .or_else(|| name.split_once('+'))
}

/// The base that an adapter file names, if it can be loaded.
pub(crate) fn named_base(adapter: &Path) -> Result<Option<String>, Failure> {
    let base = denoiser_lora_base(adapter)?;
    Ok(base.filter(|base| adapters::base_exists(base)))
}

/// The base model of a name: that of an adapter, else the name itself.
pub(crate) fn base_of(name: &str) -> Result<String, Failure> {
    Ok(base_and_adapter(name)?.0)
}

/// Whether a name is that of a denoiser that is told of guidance as a number.
pub(crate) fn embeds_guidance(name: &str) -> bool {
    let base = base_of(name).unwrap_or_default();
    let folder = DiffusersFolder::open(Path::new(&base)).ok();
    // One that cannot be read says so itself.
    folder.is_some_and(|folder| folder.config().map_or(true, |config| config.embedded_guidance().is_some()))
}

/// The name that diffusers gives a file of adapters.
pub(crate) const LORA_FILE: &str = "pytorch_lora_weights.safetensors";
