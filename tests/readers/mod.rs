//! Readers of files, fed any bytes: each returns what it made of them, and neither panics nor asks for memory without end.
//!
//! The fuzz targets (`tests/fuzz/targets`) and the test of their corpora call these functions, so a corpus can't outlive
//! what it was collected for. A reader of a folder takes several files in one input: see [`scene::parts`].

mod adapters;
#[cfg(test)]
mod corpora;
mod images;
mod language;
mod pairs;
mod pipelines;
mod records;
mod runs;
mod scene;
mod templates;
mod tensors;
mod tokenizers;

/// Reads bytes as a program of this workspace would; the error is the message that a user gets.
pub(crate) type Reader = fn(&[u8]) -> Result<(), String>;

/// Every reader by name; the names are those of the fuzz targets and of the folders of their corpora.
pub(crate) const READERS: [(&str, Reader); 16] = [
    ("adapter", adapters::of_language_model),
    ("denoiser_adapter", adapters::of_denoiser),
    ("gguf", language::gguf),
    ("latents", images::latents),
    ("llama2c", language::llama2c),
    ("model", language::folder),
    ("npz", tensors::npz),
    ("pairs", pairs::folder),
    ("parquet", records::parquet),
    ("pictures", images::pictures),
    ("pipeline", pipelines::folder),
    ("records", records::text),
    ("run", runs::folder),
    ("safetensors", tensors::safetensors),
    ("template", templates::chat),
    ("tokenizer", tokenizers::folder),
];

/// The message of an error.
fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
