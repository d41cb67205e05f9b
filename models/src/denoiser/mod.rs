//! Denoisers as policies of the denoising problem.
//!
//! A [`Denoiser`] is a network with a prediction type and a sampler: it scores decisions towards a finished image,
//! scores the density of a given next latent, and generates images. Its input besides latent and time is a
//! [`Condition`].

mod batch;
mod config;
mod cursor;
mod dit;
mod external;
mod flux;
mod generate;
mod learn;
mod maps;
mod model;
mod network;
mod policy;
#[cfg(test)]
mod tests;
mod zimage;

pub use crate::image_batch::{Contexts, ImageBatch};
pub use crate::network::{LearnerOptions, NetworkConfig};
pub use config::DenoiserConfig;
pub use external::{ExternalDenoiser, ExternalDenoiserConfig, PixelBatch};
pub use generate::Generated;
pub use learn::DenoiserTape;
pub use mdp::diffusion::{Condition, Conditioning, Framing, Hidden, LatentShape, Prediction};
pub use model::{Denoiser, SamplerConfig};
pub use network::DenoiserNetwork;

use mdp::diffusion::{DenoisingMdp, DenoisingState};

type ConditionedMdp = DenoisingMdp<Condition>;
type State = DenoisingState<Condition>;
