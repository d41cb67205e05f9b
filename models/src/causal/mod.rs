//! Causal language models as policies of the token MDP.
//!
//! All families are one decoder, whose norms, projections, residual and layers [`CausalConfig`] selects. A
//! batch of episodes is packed into a prefix forest, so that a prompt is computed once for all its responses, and
//! vocabulary logits are computed for scored tokens only.
//!
//! ```
//! use std::sync::Arc;
//!
//! use candle_core::Device;
//! use engine::Noise;
//! use mdp::Episode;
//! use mdp::token::{TokenMdp, TokenState};
//! use policies::Policy;
//! use models::causal::{CausalConfig, CausalLm};
//!
//! # fn main() -> Result<(), policies::BoxError> {
//! let config = CausalConfig::from_json(serde_json::json!({
//!     "model_type": "llama", "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32,
//!     "num_hidden_layers": 1, "num_attention_heads": 2,
//! }))?;
//! let tensors = config.initial_tensors(&Noise::new(0), &Device::Cpu)?;
//! let model = CausalLm::frozen(config, tensors)?;
//! let mdp = TokenMdp { vocabulary: 50, eos: vec![0], max_length: 64 };
//! let prompt: Arc<[u32]> = vec![5, 6, 7].into();
//! let answers = [vec![8, 9, 0], vec![8, 0]];
//! let episodes = answers.map(|answer| Episode::whole(TokenState::new(Arc::clone(&prompt)), answer));
//! let numbers = model.score(&mdp, &episodes)?;
//! // A fresh model finds all tokens about equally likely.
//! assert!(numbers.log_probs.values().iter().all(|log_prob| (log_prob + 50f64.ln()).abs() < 0.5));
//! # Ok(())
//! # }
//! ```

mod base;
mod cache;
mod common;
mod config;
mod cursor;
mod decoder;
mod draw;
mod encoder;
mod external;
mod families;
mod family;
mod from_json;
mod generate;
mod initial;
mod learn;
mod model;
mod names;
mod packing;
mod policy;
mod reward;
mod rotary;
mod rotary_scaling;
mod settings;
#[cfg(test)]
mod tests;
mod token_batch;
mod windows;

pub use base::BaseWeights;
pub use config::{Activation, CausalConfig, Layer, LayerPositions, Layers, Scales};
pub use draw::GenerationConfig;
pub use encoder::CausalEncoder;
pub use family::Family;
pub use learn::TokenTape;
pub use model::CausalLm;
pub use reward::RewardModel;
pub use rotary::Rotary;
pub use rotary_scaling::RotaryScaling;
pub use token_batch::{ExternalSizes, TokenBatch};

pub(crate) use families::{FAMILIES, of_gguf};
pub(crate) use family::{FamilyTokenizer, GgufFamily, GgufRows, GgufSizes, GgufValue, NormKind, Packing, TensorNames};
pub(crate) use names::SCORE;

pub use crate::network::LearnerOptions;
pub use engine::checkpoint::Recompute;
