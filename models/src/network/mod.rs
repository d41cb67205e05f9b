//! This module holds what every trained network has, whatever it computes: weights, adapters and the learner's state.
//!
//! [`Weights`] holds a network's tensors by name, with or without adapters on them, and [`Layers`] applies them in a
//! pass. [`Trained`] adds the learner's state: gradients, optimiser, EMA, checkpoints, the fingerprint. Language models
//! and denoisers stand on it, so what one can do the other can; reward models, which learn nothing here, have the weights
//! alone.

mod checkpoint;
mod layers;
#[cfg(test)]
mod tests;
mod trained;
mod weights;

pub(crate) use layers::{GroupNorm, Layers, Pass};
pub use trained::Training;
pub(crate) use trained::{Network, Trained};
pub(crate) use weights::Weights;
