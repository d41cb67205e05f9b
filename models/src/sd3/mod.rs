//! The transformers of Stable Diffusion 3 and 3.5 (MMDiT), trainable.
//!
//! [`Sd3Config`] is read from the `config.json` of a `SD3Transformer2DModel`. An [`Sd3Transformer`] predicts for an
//! [`ImageBatch`](crate::denoiser::ImageBatch), in which each image has its own time and caption. Patches of the image and
//! tokens of the caption are two streams of rows with weights of their own, which attend to each other jointly. Captions
//! may have different lengths: there is no padding.
//!
//! # References
//! Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", 2024, section 4.

mod blocks;
mod config;
mod model;
mod positions;
mod streams;
#[cfg(test)]
mod tests;

pub use config::Sd3Config;
pub use model::Sd3Transformer;
