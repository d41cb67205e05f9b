//! Gaussian policies of continuous control: a small network from an observation to the mean and the width of actions.
//!
//! [`GaussianMlp`] is a policy of every problem whose states are observed as numbers
//! ([`mdp::control::Continuous`]), and learns, is kept and exported as the other models are. Its numbers are made on the host in
//! `f64` by [`policies::gaussian`]; the network computes outputs alone.
//!
//! # Examples
//! ```
//! use candle_core::Device;
//! use engine::Noise;
//! use mdp::control::{BinPicking, Continuous, Scene};
//! use mdp::{Mdp, Rng};
//! use models::gaussian::{GaussianConfig, GaussianMlp};
//! use policies::Policy;
//! use policies::gaussian::Spread;
//! use rand::SeedableRng;
//!
//! let mdp = BinPicking::default();
//! let config = GaussianConfig::new(&mdp, vec![32, 32], Spread::Fixed { std: 0.5 });
//! let tensors = config.initial_tensors(&Noise::new(0), &Device::Cpu)?;
//! let policy = GaussianMlp::frozen(config, tensors)?;
//! let mut rng = Rng::seed_from_u64(0);
//! let start = mdp.start(&Scene::draw(&mut rng));
//! let episodes = policy.rollout(&mdp, &[start], &mut rng)?;
//! assert!(episodes[0].n_decisions() <= mdp.horizon);
//! # Ok::<(), policies::BoxError>(())
//! ```
mod config;
mod network;
mod policy;
#[cfg(test)]
mod tests;

pub use crate::network::LearnerOptions;
pub use config::GaussianConfig;
pub use policy::{GaussianMlp, GaussianTape};
