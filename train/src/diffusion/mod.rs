//! Finished images as episodes of the denoising problem.
//!
//! A preference compares two finished images; a denoiser is scored on decisions. A sampling scheme turns images into
//! decisions (App. B.2 of the paper: all are valid off-policy data for the same objective):
//!
//! - [`Scheme::Forward`]: the image is noised, x_t ~ q(x_t | x_0), and the decision is to denoise towards it, at one
//!   timestep or at K inside the sigmoid.
//! - [`Scheme::Half`]: x_t ~ q(x_t | x_0), and the next latent is sampled from a policy, x_{t-1} ~ p(x_{t-1} | x_t).
//! - [`TrajectorySource`]: whole reverse trajectories of a policy, replayed.
//!
//! Every draw is a function of (seed, example, draw), so the reference's numbers can be computed once and cached.
mod draws;
mod measures;
mod source;
#[cfg(test)]
mod tests;
mod trajectories;
mod units;

use mdp::diffusion::Condition;
use mdp::diffusion::{DenoisingMdp, Latent};
use objectives::{Comparison, Demonstration, Feedback};
use policies::BoxError;

pub use draws::{Draw, DrawPlan, FixedDraws, NoiseSharing, Timesteps};
pub use source::{ImageSource, Scheme};
pub use trajectories::{Trajectories, TrajectorySource};
pub use units::{ErrorReduction, Units};

/// The denoising problem with this project's conditioning.
pub type ImageMdp = DenoisingMdp<Condition>;

/// A finished image with its conditioning, as a denoiser's training data.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The image, or its latent.
    pub latent: Latent,
    /// Its conditioning.
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

/// An indexed collection of finished images.
pub trait Images {
    /// Number of examples.
    fn len(&self) -> usize;

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The example at `index`; repeated calls return the same.
    fn example(&self, index: usize) -> Result<ImageExample, BoxError>;

    /// The caption of the example at `index`, where it is known.
    ///
    /// # Errors
    /// It can't be read.
    fn caption(&self, _index: usize) -> Result<Option<String>, BoxError> {
        Ok(None)
    }
}

impl Images for Vec<ImageExample> {
    fn len(&self) -> usize {
        self.len()
    }

    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        self.get(index).cloned().ok_or_else(|| format!("there is no example {index}").into())
    }
}

/// Feedback that can be derived from finished images.
pub trait FromImages: Feedback {
    /// Number of an example's images it refers to.
    const N_SIDES: usize;

    /// The feedback on episodes 0 and, for pairs, 1.
    fn from_preference(preference: f64) -> Self;
}

impl FromImages for Comparison {
    const N_SIDES: usize = 2;

    fn from_preference(preference: f64) -> Self {
        Self { preference, ..Self::new(0, 1) }
    }
}

impl FromImages for Demonstration {
    const N_SIDES: usize = 1;

    fn from_preference(_preference: f64) -> Self {
        Self { episode: 0 }
    }
}
