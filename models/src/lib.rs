//! Models as policies: networks, and their file formats.
//!
//! [`causal`] has language models and reward models; [`denoiser`] makes a policy of the denoising problem from a
//! network ([`unet`], [`sd3`], [`flux`], [`zimage`], [`dit`]) and a noise schedule, sampled by a [`sampler`] with the settings of a [`scheduler`];
//! [`clip`] and [`vae`] are the encoders around it. [`gaussian`] has networks of continuous control. A model is made from a config and tensors and knows no file: [`formats`] reads and
//! writes those of Hugging Face, diffusers, PEFT and llama.cpp, and an [`Export`] is the exporter that a model keeps.
//! [`Prompted`] and [`Codebook`] are hand-offs from a language model to a denoiser.
pub mod causal;
pub mod clip;
mod codebook;
pub mod denoiser;
pub mod dit;
mod error;
mod export;
pub mod external;
mod fields;
pub mod flux;
pub mod formats;
pub mod gaussian;
mod image_batch;
mod input_limits;
mod joint_rows;
mod modulation;
mod network;
mod prompted;
pub mod sampler;
pub mod scheduler;
pub mod sd3;
pub mod t5;
mod tensors;
#[cfg(test)]
mod tests;
mod transformer;
pub mod unet;
pub mod vae;
mod weights_file;
pub mod zimage;
pub use codebook::Codebook;
pub use error::ModelError;
pub use export::{Export, Exported};
pub use network::LearnerOptions;
pub use prompted::Prompted;
pub use transformer::Transformer;
