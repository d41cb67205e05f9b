//! The transformers of FLUX.1, trainable.
//!
//! [`FluxConfig`] is read from the `config.json` of a `FluxTransformer2DModel`. A [`FluxTransformer`] predicts for an
//! [`ImageBatch`](crate::denoiser::ImageBatch) of latents as an autoencoder has them; it packs squares of two by two into
//! rows itself. The first blocks have a stream of weights for the image's rows and one for its caption's, the others one
//! for both, in which attention and feed-forward network stand side by side. Rows are told where they are by a rotary
//! embedding of three axes, of which captions use none. Captions may have different lengths: there is no padding.
//!
//! # References
//! Black Forest Labs, *FLUX.1* (2024), <https://github.com/black-forest-labs/flux>.

mod blocks;
mod config;
mod model;
mod places;
#[cfg(test)]
mod tests;

pub use config::FluxConfig;
pub(crate) use config::PATCH;
pub use model::FluxTransformer;
