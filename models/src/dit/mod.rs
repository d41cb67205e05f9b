//! Diffusion transformers with one stream of patches, trainable: PixArt-alpha and PixArt-Sigma, and DiT.
//!
//! [`DitConfig`] is read from the `config.json` of a `PixArtTransformer2DModel` or a `DiTTransformer2DModel`. A
//! [`DitTransformer`] predicts for an [`ImageBatch`](crate::denoiser::ImageBatch), in which each image has its own time and
//! caption or class. PixArt's blocks share one modulation of the time, to which each adds a table of its own (adaLN-single),
//! and attend to the caption; DiT's have each their own embedding of time and class (adaLN-zero). Captions may have different
//! lengths: there is no padding and no mask.
//!
//! A network may predict a variance too, in as many channels more (`out_channels` twice `in_channels`). That half is
//! computed by the same last layer and dropped, as diffusers' pipelines and the released training scripts do.
//!
//! # References
//! Peebles and Xie, "Scalable Diffusion Models with Transformers", 2022; Chen et al., "PixArt-alpha: Fast Training of
//! Diffusion Transformer for Photorealistic Text-to-Image Synthesis", 2023, section 2.3, and "PixArt-Sigma", 2024.

mod blocks;
mod config;
mod declared;
mod model;
mod positions;
mod rows;
#[cfg(test)]
mod tests;

pub use config::{DitActivation, DitConditioning, DitConfig};
pub use model::DitTransformer;
