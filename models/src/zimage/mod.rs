//! The transformer of Z-Image, trainable.
//!
//! [`ZImageConfig`] is read from the `config.json` of a `ZImageTransformer2DModel`. A [`ZImageTransformer`] predicts for an
//! [`ImageBatch`](crate::denoiser::ImageBatch), in which each image has its own time and caption. Patches of the image and
//! tokens of the caption are refined by blocks of their own, then are one stream of rows that attend to each other. Both
//! are filled up to a multiple of 32 rows with learned rows, which take part in attention as in diffusers; nothing else is
//! padded, and images of one caption share its refined rows.
//!
//! # References
//! Cai et al., "Z-Image: An Efficient Image Generation Foundation Model with Single-Stream Diffusion Transformer", 2025.

mod blocks;
mod config;
mod model;
mod rows;
#[cfg(test)]
mod tests;

pub use config::ZImageConfig;
pub use model::ZImageTransformer;

/// The side of a patch; pipelines use no other.
pub(crate) const PATCH: usize = 2;
