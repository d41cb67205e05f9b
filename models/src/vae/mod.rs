//! The autoencoder between pictures and latents: `AutoencoderKL` of diffusers, frozen.
//!
//! Pictures and latents have one row per pixel, channels last; pictures have values from -1 to 1.

mod config;
mod model;
mod shapes;
#[cfg(test)]
mod tests;

pub use config::VaeConfig;
pub use model::{LatentGaussian, Vae};
