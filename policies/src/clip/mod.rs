//! CLIP's text half: tokenizer, encoder, and the two together as what a denoiser is told.
//!
//! Encoders are frozen: they are part of the context, not of the policy. Their outputs are plain numbers, so that they
//! can be computed once and kept.

mod conditioner;
mod config;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;

pub use conditioner::{ConditionedTexts, Reading, TextConditioner};
pub use config::{ClipActivation, ClipTextConfig};
pub use text::{ClipOutput, ClipText};
pub use tokenizer::{ClipTokenizer, TokenizedTexts};
