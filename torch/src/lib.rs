//! Policies that LibTorch computes.
//!
//! A TorchScript file with a JSON file of [`Settings`] beside it is a policy: a language model that gives the logits of its next
//! tokens, or a network that denoises. [`load`] makes files of it as [`models::formats`] makes them of other formats, so what
//! scores, trains, samples, searches and saves other models does so with it. `TorchPolicy` is the same for a module in Rust, a
//! function of the variables of a `tch::nn::VarStore`.
//!
//! LibTorch is linked by the feature `libtorch` alone; without it [`load`] says what is missing.
mod files;
#[cfg(feature = "libtorch")]
mod module;
#[cfg(feature = "libtorch")]
mod network;
#[cfg(feature = "libtorch")]
mod policy;
mod settings;

pub use files::{TorchFiles, find, load, settings_of};
#[cfg(feature = "libtorch")]
pub use policy::TorchPolicy;
pub use settings::{Context, ImageSettings, PredictionName, Settings, TokenSettings};
#[cfg(feature = "libtorch")]
pub use tch;
