//! Denoisers as policies of the denoising problem.
//!
//! A [`Denoiser`] is a network with a schedule's reading of it: it scores how well it goes on towards a finished image,
//! how likely it draws a given next latent, and makes images of its own. What it is told is a [`Condition`].

mod batch;
mod cursor;
mod generate;
mod learn;
mod model;
mod policy;
#[cfg(test)]
mod tests;

pub use crate::network::Training;
pub use generate::Generated;
pub use learn::DenoiserTape;
pub use mdp::diffusion::{Condition, Conditioning, Framing, Hidden, LatentShape, Prediction};
pub(crate) use model::check_channels;
pub use model::{Denoiser, SamplerConfig};
