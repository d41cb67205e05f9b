//! Models as policies: networks, and the files they come in.
//!
//! [`causal`] has the language models and reward models, [`denoiser`] turns a [`unet`] and a schedule into a policy of the
//! denoising problem, which a [`sampler`] with the settings of a [`scheduler`] walks; [`clip`] and [`vae`] are what stands
//! around it. A model is made of a configuration and tensors and knows no file: [`formats`] reads and writes those of Hugging
//! Face, diffusers, PEFT and llama.cpp, and an [`Export`] is what a model keeps to be written with. [`Prompted`] and
//! [`Codebook`] hand a text from a language model to a denoiser.
pub mod causal;
pub mod clip;
mod codebook;
pub mod denoiser;
mod error;
mod export;
mod fields;
pub mod formats;
mod input_limits;
mod network;
mod prompted;
pub mod sampler;
pub mod scheduler;
mod tensors;
pub mod unet;
pub mod vae;
mod weights_file;
pub use codebook::Codebook;
pub use error::ModelError;
pub use export::{Export, Exported};
pub use network::Training;
pub use prompted::Prompted;
