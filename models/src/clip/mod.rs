//! CLIP: text encoder and tokenizer for conditioning a denoiser, and both halves as a reward model of pictures.
//!
//! Encoders are frozen: they are part of the context, not of the policy. Their outputs are plain numbers, which can be
//! cached.

mod activation;
mod classes;
mod conditioner;
mod config;
mod encoder;
mod score;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;
mod vision;

pub use activation::ClipActivation;
pub use classes::ClassNames;
pub use conditioner::{ConditionedTexts, TextConditioner, TextFeatures};
pub use config::ClipTextConfig;
pub(crate) use score::halves;
pub use score::{ClipNormalisation, ClipScore};
pub use text::{ClipOutput, ClipText};
pub use tokenizer::{ClipTokenizer, TokenizedTexts};
pub use vision::{ClipVision, ClipVisionConfig};
