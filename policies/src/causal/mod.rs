//! Causal language models as policies of the token MDP.

mod config;
mod fields;
mod names;

pub use config::{Activation, Architecture, CausalConfig, Rotary, RotaryScaling};
