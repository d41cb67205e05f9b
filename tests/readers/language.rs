//! Language models in each of their formats.

use candle_core::{Device, Tensor};
use models::formats::{Holding, ModelFiles, SaveOptions, load, load_held, save_huggingface};

use super::{scene, told};

/// The files of a small model in the format of Hugging Face.
pub(crate) const BASE: [(&str, &[u8]); 3] = [
    ("config.json", include_bytes!("../golden/formats/llama-base/config.json")),
    ("generation_config.json", include_bytes!("../golden/formats/llama-base/generation_config.json")),
    ("model.safetensors", include_bytes!("../golden/formats/llama-base/model.safetensors")),
];

const NAMES: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// A folder of Hugging Face's; the files that an input lacks are those of a valid model.
pub(crate) fn folder(input: &[u8]) -> Result<(), String> {
    let has_shards = scene::parts(input).iter().any(|(name, _)| *name == "model.safetensors.index.json");
    // Weights in one file come first, so shards are read without it.
    let base = if has_shards { &BASE[..2] } else { &BASE };
    let folder = scene::folder(input, base, &NAMES);
    kept(load(folder.path(), &Device::Cpu).map_err(told)?)
}

/// A GGUF file, its weights as floats and in blocks.
pub(crate) fn gguf(input: &[u8]) -> Result<(), String> {
    let (_folder, path) = scene::file("x.gguf", input);
    let files = load(&path, &Device::Cpu);
    let held = load_held(&path, &Device::Cpu, Holding::Quantised).map_err(told)?;
    let files = files.expect("a file that is read into blocks is read into floats");
    assert_eq!(held.n_parameters(), files.n_parameters());
    held.frozen().map_err(told)?;
    kept(files)
}

/// A file of llama2.c, with the tokenizer beside it.
pub(crate) fn llama2c(input: &[u8]) -> Result<(), String> {
    let folder = scene::folder(input, &[], &["model.bin", "tokenizer.bin"]);
    kept(load(&folder.path().join("model.bin"), &Device::Cpu).map_err(told)?)
}

/// A model that was read can be made, and is the same when it is written and read again.
fn kept(files: ModelFiles) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("again");
    save_huggingface(&path, &files.config, &files.tensors, &files.extras, SaveOptions::default()).map_err(told)?;
    let again = load(&path, &Device::Cpu).expect("a model that was written is read");
    assert_eq!(numbers(&files), numbers(&again));
    if let Some(tokenizer) = &files.tokenizer {
        let _ = tokenizer.encode("a dog of 3").map(|ids| tokenizer.decode(&ids));
    }
    files.frozen().map(drop).map_err(told)
}

/// The bits of every tensor.
fn numbers(files: &ModelFiles) -> Vec<(String, Vec<u32>)> {
    let bits = |tensor: &Tensor| {
        let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32");
        values.into_iter().map(f32::to_bits).collect()
    };
    files.tensors.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}
