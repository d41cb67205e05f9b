//! Files of embedded models; `scripts/train-embedded*.sh` create them.
use std::path::Path;

use tempfile::TempDir;

use super::{listed, problems};
use crate::Failure;

/// The name of a file within its model's folder, and its contents.
pub(crate) type File = (&'static str, &'static [u8]);

/// The suffix of a model's name that selects random weights, initialised from the seed.
const UNTRAINED: &str = "-untrained";

/// The architecture of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelKind {
    /// A language model; in a hybrid the refiner.
    Language,
    /// A denoiser with its text encoders; in a hybrid the generator.
    Denoiser,
}

/// An embedded model: its name, and the files of its folder.
pub(crate) struct EmbeddedModel {
    pub(crate) name: &'static str,
    pub(crate) kind: ModelKind,
    pub(crate) files: &'static [File],
}

impl EmbeddedModel {
    /// The contents of one file.
    pub(crate) fn file(&self, name: &str) -> &'static [u8] {
        self.files.iter().find(|(known, _)| *known == name).map_or(&[], |(_, bytes)| bytes)
    }

    /// Writes its files to a temporary folder.
    pub(crate) fn unpacked(&self) -> Result<TempDir, Failure> {
        let folder = tempfile::tempdir()?;
        for (name, bytes) in self.files {
            let path: &Path = &folder.path().join(name);
            path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(Failure::of_file(path))?;
            std::fs::write(path, bytes).map_err(Failure::of_file(path))?;
        }
        Ok(folder)
    }
}

/// All models of a kind.
fn models(kind: ModelKind) -> impl Iterator<Item = &'static EmbeddedModel> {
    problems().flat_map(|problem| problem.models).filter(move |model| model.kind == kind)
}

/// Finds the model of a kind by name; true for its trained weights, false for random ones.
///
/// # Errors
/// No such model.
pub(crate) fn find_model(name: &str, kind: ModelKind) -> Result<(&'static EmbeddedModel, bool), Failure> {
    let base = name.strip_suffix(UNTRAINED);
    let found = models(kind).find(|model| model.name == base.unwrap_or(name));
    found.map(|model| (model, base.is_none())).ok_or_else(|| {
        let (name, known) = (name.trim_start_matches(super::PREFIX), listed(models(kind).map(|model| model.name)));
        Failure::usage(format!(
            "there is no embedded model `{name}`; there are {known} (trained on demonstrations), and each with {UNTRAINED}"
        ))
    })
}

/// Whether a name is that of a model of a kind, or of an adapter or variant of one.
pub(crate) fn is_model(name: &str, kind: ModelKind) -> bool {
    models(kind).any(|model| name.starts_with(model.name))
}

/// The files of a language model's folder below `recipes/embedded`.
macro_rules! language_model_files {
    ($folder:literal) => {
        $crate::embedded::model::files!(
            $folder: "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
            "tokenizer_config.json",
        )
    };
}

/// The files of a diffusers folder below `recipes/embedded`.
macro_rules! denoiser_files {
    ($folder:literal) => {
        $crate::embedded::model::files!(
            $folder: "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
            "text_encoder/model.safetensors", "text_encoder_2/config.json", "text_encoder_2/model.safetensors",
            "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "tokenizer_2/tokenizer.json",
            "tokenizer_2/tokenizer_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        )
    };
}

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../embedded/", $folder, "/", $name)))),+]
    };
}

pub(super) use {denoiser_files, files, language_model_files};
