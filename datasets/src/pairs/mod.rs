//! Pairs that models made and somebody is to compare: a folder, and the judgements that gather in it.
//!
//! A *pair* is a request and two things made for it, `a` and `b`. What was made is a text (token), a picture
//! (diffusion), or a refined prompt and the picture that was made of it (hybrid). Both sides stand in one record with one
//! request, so a pair whose sides answer different requests cannot be written down.
//!
//! | file | what it holds |
//! |---|---|
//! | `pairs.json` | format, version, id, modality, how many pairs, and the settings they were made with |
//! | `pairs.jsonl` | one pair a line |
//! | `images/` | the pictures, as PNG (diffusion and hybrid) |
//! | `latents.safetensors` | `a` and `b`, f32 `[pairs, channels, height, width]`: what the generator itself made, latents or pixels from -1 to 1 (diffusion and hybrid) |
//! | `labels.jsonl` | one judgement a line, only ever appended to |
//!
//! A [`PairWriter`] makes the first four, whole or not at all; a [`PairFolder`] checks and reads them. A [`LabelLog`]
//! appends judgements, [`Labels`] says what stands, and [`Labels::preferences`] is what a loss takes. The id is a hash of
//! everything but the judgements, so that judgements of other pairs are refused. `docs/pairs.md` has the fields.
//!
//! [`hybrid`] reads judged hybrid pairs that other programs made, from plain JSON lines.

mod agreement;
mod folder;
pub mod hybrid;
mod labels;
mod log;
#[cfg(test)]
mod tests;
mod types;
mod wire;
mod writer;

pub use agreement::{Agreement, Kappa};
pub use folder::PairFolder;
pub use hybrid::{HybridRecord, HybridSide};
pub use labels::{Choice, Judge, Label, Labels, Preference, Verdict};
pub use log::LabelLog;
pub use types::{Candidate, Fresh, Kept, Modality, Pair, Refined, Side};
pub use writer::PairWriter;

/// What `pairs.json` says it is.
const FORMAT: &str = "hybrid-dpo pairs";
/// The version of all files of a folder.
const VERSION: u64 = 1;
/// What the id of a folder that [`PairWriter`] wrote starts with; the hash follows.
const HASHED: &str = "blake3:";
/// The dimensions of the tensors of `latents.safetensors`.
const DIMENSIONS: &str = "[pairs, channels, height, width]";
