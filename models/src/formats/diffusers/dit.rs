//! The text conditioning of pipelines that read T5 alone, or no text but a class.

use std::path::Path;

use candle_core::Device;

use super::DiffusersFolder;
use crate::ModelError;
use crate::clip::{ClassNames, T5Texts, TextConditioner};
use crate::denoiser::DenoiserConfig;
use crate::formats::extras::read_object;
use crate::formats::{load_t5, load_t5_tokenizer};

/// The pipelines of PixArt, each with the tokens of a text that it reads.
pub(super) const PIXART_PIPELINES: [(&str, usize); 2] = [("PixArtAlphaPipeline", 120), ("PixArtSigmaPipeline", 300)];
/// The pipeline of DiT.
pub(super) const DIT_PIPELINE: &str = "DiTPipeline";

/// The classes of their transformers.
const CLASSES: [&str; 3] = ["PixArtTransformer2DModel", "DiTTransformer2DModel", "Transformer2DModel"];

/// The conditioner of PixArt or DiT, with or without a pipeline; `None` for other networks and without an encoder.
///
/// # Errors
/// Files that are missing or damaged, class names that are none.
pub(super) fn conditioner(folder: &DiffusersFolder, device: &Device) -> Result<Option<TextConditioner>, ModelError> {
    let Some(config) = transformer(folder.denoiser())? else { return Ok(None) };
    if let Some(n) = config.n_classes() {
        let names = ClassNames::new(n, &folder.index["id2label"]);
        let names =
            names.map_err(|error| ModelError::format(folder.path.join("model_index.json"), error.to_string()))?;
        return Ok(Some(TextConditioner::of_classes(names)));
    }
    let length = PIXART_PIPELINES.iter().find(|(name, _)| Some(*name) == folder.pipeline.as_deref());
    let parts = (folder.component("tokenizer"), folder.component("text_encoder"));
    let (Some((_, length)), (Some(tokenizer), Some(encoder))) = (length, parts) else { return Ok(None) };
    let (tokenizer, encoder) = (load_t5_tokenizer(&tokenizer.path)?, load_t5(&encoder.path, device)?);
    let conditioner = TextConditioner::of_encoder(T5Texts::new(tokenizer, encoder, *length)?);
    Ok(Some(if config.reads_sizes() { conditioner.with_sizes() } else { conditioner }))
}

/// The config of a PixArt or DiT transformer in its folder; `None` for another network.
///
/// # Errors
/// A missing or damaged file, settings that are not supported.
pub(super) fn transformer(folder: &Path) -> Result<Option<DenoiserConfig>, ModelError> {
    let path = folder.join("config.json");
    let source = read_object(&path)?;
    if !CLASSES.iter().any(|class| source["_class_name"] == **class) {
        return Ok(None);
    }
    let config = DenoiserConfig::from_json(source);
    config.map(Some).map_err(|error| ModelError::format(path, error.to_string()))
}
