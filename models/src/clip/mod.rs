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
mod t5_texts;
#[cfg(test)]
mod tests;
mod text;
mod text_encoder;
mod tokenizer;
mod vision;

pub use activation::ClipActivation;
pub use classes::ClassNames;
pub use conditioner::{ConditionedTexts, TextConditioner, TextFeatures};
pub use config::ClipTextConfig;
pub(crate) use score::halves;
pub use score::{ClipNormalisation, ClipScore};
pub use t5_texts::T5Texts;
pub use text::{ClipOutput, ClipText};
pub use text_encoder::{EncodedText, TextEncoder};
pub use tokenizer::{ClipTokenizer, TokenizedTexts};
pub use vision::{ClipVision, ClipVisionConfig};
