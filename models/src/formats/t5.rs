//! T5's encoder in transformers' format: `config.json` and `model.safetensors`.

use std::path::Path;

use candle_core::Device;

use super::clip_tokenizer::load_clip_tokenizer_as;
use super::component::{Expected, read_config, read_tensors};
use crate::ModelError;
use crate::clip::ClipTokenizer;
use crate::t5::{T5Config, T5Encoder};

/// Loads a `T5EncoderModel` from a folder of `config.json` and weights.
///
/// # Errors
/// Files that are missing or damaged, another class of model, tensors that do not match the config.
pub fn load_t5(folder: &Path, device: &Device) -> Result<T5Encoder, ModelError> {
    let config = read_config(folder, T5Config::from_json)?;
    let shapes = config.tensor_shapes();
    let canonical = |stored: &str| T5Config::canonical_name(stored);
    let expected = Expected { class: T5Config::CLASS, stem: "model", shapes: &shapes, canonical: &canonical };
    T5Encoder::new(config, read_tensors(folder, &expected, device)?)
}

/// Loads the tokenizer of T5's encoder from its `tokenizer.json`.
///
/// # Errors
/// Files that are missing or damaged; a folder of `spiece.model` alone.
pub fn load_t5_tokenizer(folder: &Path) -> Result<ClipTokenizer, ModelError> {
    if !folder.join("tokenizer.json").is_file() {
        let reason = "no tokenizer.json; load the tokenizer with transformers and save it again, which writes one";
        return Err(ModelError::format(folder, reason));
    }
    // The class splits as the file says.
    load_clip_tokenizer_as("TokenizersBackend", folder)
}
