//! Models as policies: networks, and the files they come in.
//!
//! [`causal`] has the language models and reward models, [`denoiser`] turns a [`unet`] and a schedule into a policy of the
//! denoising problem, [`clip`] and [`vae`] are what stands around it, [`formats`] reads and writes the files of Hugging
//! Face, diffusers, PEFT and llama.cpp. [`Prompted`] and [`Codebook`] hand a text from a language model to a denoiser.
pub mod causal;
pub mod clip;
mod codebook;
mod declared;
pub mod denoiser;
mod error;
pub mod formats;
mod input_limits;
mod network;
mod prompted;
pub mod unet;
pub mod vae;
mod weights_file;
pub use codebook::Codebook;
pub use error::ModelError;
pub use network::Training;
pub use prompted::Prompted;
