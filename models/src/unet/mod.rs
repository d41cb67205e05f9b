//! UNets: the denoisers of diffusers, trainable.
//!
//! [`UNetConfig`] is read from the `config.json` of a `UNet2DModel` or a `UNet2DConditionModel` (Stable Diffusion 1 and
//! 2, SDXL, unconditional DDPM). A [`UNet`] predicts for a [`ImageBatch`], in which each image has its own time and
//! caption, and pixels are rows: `[N*H*W, channels]`.

mod blocks;
mod config;
mod declared;
mod initial;
mod model;
mod plan;
mod settings;
mod tape;
#[cfg(test)]
mod tests;

pub use crate::image_batch::{Contexts, ImageBatch};
pub use config::{BlockAttention, Level, LevelSide, Middle, Resampling, TextTime, UNetClass, UNetConfig};
pub use model::UNet;
