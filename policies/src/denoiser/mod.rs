//! Denoisers as policies of the denoising problem.

mod conditioning;

pub use conditioning::{Condition, Conditioning, Framing, Hidden};
