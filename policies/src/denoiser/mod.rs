//! Denoisers as policies of the denoising problem.

mod conditioning;
mod prediction;
pub mod sampler;

pub use conditioning::{Condition, Conditioning, Framing, Hidden};
pub use prediction::{Mixture, Prediction};
