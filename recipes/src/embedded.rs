//! The files of embedded models; `scripts/train-embedded*.sh` make them.
use std::path::Path;

use tempfile::TempDir;

use crate::Failure;

/// A file's name within its model's folder, and what it holds.
pub(crate) type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../embedded/", $folder, "/", $name)))),+]
    };
}

/// The language model of builtin:tldr.
pub(crate) const TLDR: &[File] = files!(
    "tldr": "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
);

/// The refiner of builtin:chimera.
pub(crate) const CHIMERA_REFINER: &[File] = files!(
    "chimera/refiner": "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json",
);

/// The denoiser of builtin:shapes.
pub(crate) const SHAPES: &[File] = files!(
    "shapes": "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
    "text_encoder/model.safetensors", "text_encoder_2/config.json", "text_encoder_2/model.safetensors",
    "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "tokenizer_2/tokenizer.json",
    "tokenizer_2/tokenizer_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
);

/// The generator of builtin:chimera.
pub(crate) const CHIMERA_GENERATOR: &[File] = files!(
    "chimera/generator": "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
    "text_encoder/model.safetensors", "text_encoder_2/config.json", "text_encoder_2/model.safetensors",
    "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "tokenizer_2/tokenizer.json",
    "tokenizer_2/tokenizer_config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
);

/// A file of an embedded model.
pub(crate) fn file(files: &[File], name: &str) -> &'static [u8] {
    files.iter().find(|(known, _)| *known == name).map_or(&[], |(_, bytes)| bytes)
}

/// The files in a folder that goes away when it is dropped.
pub(crate) fn unpacked(files: &[File]) -> Result<TempDir, Failure> {
    let folder = tempfile::tempdir()?;
    for (name, bytes) in files {
        let path: &Path = &folder.path().join(name);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, bytes)?;
    }
    Ok(folder)
}
