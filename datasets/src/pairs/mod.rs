//! Folders of generated pairs for comparison, and their judgements.
//!
//! A *pair* is a request and two results for it, `a` and `b`. A result is a text (token), an image (diffusion), or a
//! refined prompt and the image generated from it (hybrid). Both sides are in one record with one request, so pairs
//! with different requests can't be represented.
//!
//! | file | what it holds |
//! |---|---|
//! | `pairs.json` | format, version, id, modality, number of pairs, and the settings they were generated with |
//! | `pairs.jsonl` | one pair per line |
//! | `images/` | the images, as PNG (diffusion and hybrid) |
//! | `latents.safetensors` | `a` and `b`, f32 `[pairs, channels, height, width]`: the generator's output, latents or pixels from -1 to 1 (diffusion and hybrid) |
//! | `labels.jsonl` | one judgement per line, append-only |
//!
//! A [`PairWriter`] writes the first four atomically; a [`PairFolder`] checks and reads them. A [`JudgementLog`]
//! appends judgements, [`Judgements`] is their current state, and [`Judgements::preferences`] is the input of a loss.
//! The id is a hash of everything but the judgements, so that judgements of other pairs are refused. `docs/pairs.md`
//! documents the fields.
//!
//! [`hybrid`] reads judged hybrid pairs of other programs from plain JSON lines.

mod agreement;
mod choice;
mod folder;
pub mod hybrid;
mod judgement;
mod labels;
mod log;
mod standing;
#[cfg(test)]
mod tests;
mod types;
mod wire;
mod writer;

pub use agreement::{Agreement, Kappa};
pub use choice::LabelChoice;
pub use folder::PairFolder;
pub use hybrid::{HybridRecord, HybridSide};
pub use judgement::{Judge, Judgement, JudgementChange};
pub use labels::{Judgements, Preference};
pub use log::{JudgementFile, JudgementLog};
pub use types::{GeneratedPair, GeneratedResult, Modality, NewResult, Refined, Side, StoredResult};
pub use writer::PairWriter;

/// The format name in `pairs.json`.
const FORMAT: &str = "hybrid-dpo pairs";
/// The version of all files of a folder.
const VERSION: u64 = 1;
/// Prefix of the id in a folder written by [`PairWriter`]; the hash follows.
const HASHED: &str = "blake3:";
/// Dimensions of the tensors of `latents.safetensors`.
const DIMENSIONS: &str = "[pairs, channels, height, width]";
