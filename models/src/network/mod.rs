//! Shared parts of all trained networks: weights, adapters and the learner's state.
//!
//! [`Weights`] holds a network's tensors by name, with optional adapters, and [`Layers`] applies them in a pass.
//! [`TrainedNetwork`] adds the learner's state: gradients, optimiser, EMA, checkpoints, the fingerprint. Language models and
//! denoisers both use it, so they have the same features; reward models, which are not trained here, use only the
//! weights.

mod checkpoint;
mod config;
mod layers;
mod shapes;
#[cfg(test)]
mod tests;
mod trained;
mod weights;

pub use config::NetworkConfig;
pub(crate) use config::by_inherent_methods;
pub(crate) use layers::{GroupNorm, Layers, Pass};
pub(crate) use shapes::{LayerShapes, adaptable_layers, initial_tensors};
pub use trained::LearnerOptions;
pub(crate) use trained::{Network, TrainedNetwork};
pub(crate) use weights::Weights;
