//! The device side of training: differentiable layers over [`candle_core::Tensor`] that run at the speed of matrix
//! products on the CPU.
//!
//! Candle's elementwise ops, reductions and copies are single-threaded, and several of its layers silently cut
//! gradients. [`ops`] has the layers that the models need, each with its own backward pass: fused kernels on the CPU
//! (`f32` and `f64`), plain candle ops elsewhere. The two are tested against each other and against finite differences.
//!
//! A frozen matrix may stay in the blocks that a file holds ([`quantised`]).
//!
//! The other modules serve a training step: named [`Parameters`] and their accumulated [`Gradients`], optimisers
//! ([`optim`]), EMA ([`ema`]), LoRA ([`lora`]), segmented backward passes and activation checkpointing
//! ([`checkpoint`]), order-independent seeded noise ([`noise`]), sums of gradients over processes ([`sums`]).
//!
//! ```
//! use candle_core::{Device, Tensor, Var};
//! use engine::ops::{WeightLayout, gelu, linear};
//!
//! # fn main() -> candle_core::Result<()> {
//! let weight = Var::new(&[[1f32, 0.], [0., -1.]], &Device::Cpu)?;
//! let x = Tensor::new(&[[0.5f32, 2.]], &Device::Cpu)?;
//! let y = gelu(&linear(&x, &weight, None, WeightLayout::OutIn)?)?;
//! let gradients = y.sum_all()?.backward()?;
//! assert_eq!(gradients.get(&weight).map(|g| g.dims().to_vec()), Some(vec![2, 2]));
//! # Ok(())
//! # }
//! ```

mod kernels;
mod layout;
pub mod ops;

pub mod checkpoint;
pub mod device;
pub mod ema;
mod error;
pub mod gradients;
mod host;
pub mod lora;
pub mod noise;
pub mod optim;
pub mod parameters;
mod precision;
pub mod softmax;
pub mod sums;
pub mod transfer;

/// Matrices that stay in the block formats of GGUF files.
pub mod quantised {
    pub use crate::kernels::quantised::{BlockFormat, QuantisedMatrix};
}

pub use error::EngineError;
pub use gradients::Gradients;
pub use mdp::Rng;
pub use noise::Noise;
pub use parameters::Parameters;
pub use precision::{Precision, WithPrecision};
