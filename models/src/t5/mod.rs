//! T5's encoder, frozen: the third text encoder of Stable Diffusion 3.
//!
//! # References
//! Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2019; version 1.1
//! with gated feed-forward networks.

mod config;
mod encoder;
#[cfg(test)]
mod tests;

pub use config::{T5Activation, T5Config};
pub use encoder::T5Encoder;
