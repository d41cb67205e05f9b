//! Finished images as episodes of the denoising problem.
//!
//! A preference is about two finished images; a denoiser is scored on decisions. A sampling scheme turns the one into the
//! other (App. B.2 of the paper: all of them are valid off-policy data for the same objective):
//!
//! - [`Scheme::Forward`]: the image is noised, x_t ~ q(x_t | x_0), and the decision is to go on towards it. One timestep
//!   or K of them inside the sigmoid.
//! - [`Scheme::Half`]: x_t ~ q(x_t | x_0), and the next latent is drawn by a policy, x_{t-1} ~ p(x_{t-1} | x_t).
//! - [`TrajectorySource`]: whole reverse trajectories of a policy, replayed.
//!
//! Everything drawn is a function of (seed, example, draw), so the reference's numbers can be computed once and kept.
mod draws;
mod measures;
mod source;
#[cfg(test)]
mod tests;
mod trajectories;
mod units;

use mdp::diffusion::Condition;
use mdp::diffusion::{DenoisingMdp, Latent};
use objectives::{Comparison, Demonstration};
use policies::BoxError;

use crate::Sides;

pub use draws::{Draw, Draws, Given, NoiseSharing, Timesteps};
pub use source::{ImageSource, Scheme};
pub use trajectories::{Trajectories, TrajectorySource};
pub use units::{Reduction, Units};

/// The problem of the denoisers that are built here.
pub type ImageMdp = DenoisingMdp<Condition>;

/// A finished image as a denoiser sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The image, or its latent.
    pub latent: Latent,
    /// What it is about.
    pub condition: Condition,
}

/// One or two finished images, the preferred one first.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageExample {
    /// The images.
    pub sides: Vec<Finished>,
    /// P(the first is better).
    pub preference: f64,
}

/// Finished images by position.
pub trait Images {
    /// How many examples there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one at `index`: the same every time.
    fn example(&self, index: usize) -> Result<ImageExample, BoxError>;
}

impl Images for Vec<ImageExample> {
    fn len(&self) -> usize {
        self.len()
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        self.get(index).cloned().ok_or_else(|| format!("there is no example {index}").into())
    }
}

/// Feedback that can be read off finished images.
pub trait FromImages: Sides {
    /// How many of an example's images it is about.
    const N_SIDES: usize;

    /// The feedback on episodes 0 and, where there are two, 1.
    fn from_preference(preference: f64) -> Self;
}

impl FromImages for Comparison {
    const N_SIDES: usize = 2;

    fn from_preference(preference: f64) -> Self {
        Self { first: 0, second: 1, preference }
    }
}

impl FromImages for Demonstration {
    const N_SIDES: usize = 1;

    fn from_preference(_preference: f64) -> Self {
        Self { episode: 0 }
    }
}
