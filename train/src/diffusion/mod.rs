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
use objectives::{Comparison, Demonstration, Feedback, Label, Ranking};
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

/// Finished images, best first: a pair, a ranked list, or one alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageExample {
    /// The images.
    pub sides: Vec<Finished>,
    /// P(the first is better) of a pair; of one image 1 if it is liked and 0 if not.
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

    /// The noise from which each image of the example at `index` was made, in units of the schedule's noise; `None` where it is
    /// not known.
    ///
    /// # Errors
    /// It can't be read.
    fn prior_noise(&self, _index: usize) -> Result<Option<Vec<Latent>>, BoxError> {
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
    /// The greatest number of an example's images it refers to.
    const MOST_SIDES: usize = usize::MAX;

    /// The least number.
    const LEAST_SIDES: usize = 2;

    /// The feedback on episodes 0 to `n - 1`, best first, where `preference` is [`ImageExample::preference`].
    ///
    /// # Errors
    /// So many images have no such feedback.
    fn from_images(n: usize, preference: f64) -> Result<Vec<Self>, BoxError>;
}

/// A pair is a comparison; of a list every two images are one.
impl FromImages for Comparison {
    fn from_images(n: usize, preference: f64) -> Result<Vec<Self>, BoxError> {
        if n == 2 {
            return Ok(vec![Self { preference, ..Self::new(0, 1) }]);
        }
        let pairs = (0..n).flat_map(|first| (first + 1..n).map(move |second| Self::new(first, second)));
        Ok(pairs.collect())
    }
}

/// A list is a ranking; of a pair the likelier image is the better one.
impl FromImages for Ranking {
    fn from_images(n: usize, preference: f64) -> Result<Vec<Self>, BoxError> {
        let mut best_first: Vec<usize> = (0..n).collect();
        if n == 2 && preference < 0.5 {
            best_first.reverse();
        }
        Ok(vec![Self { best_first }])
    }
}

/// One image is liked or not; of a pair one is, and the other is not.
impl FromImages for Label {
    const LEAST_SIDES: usize = 1;

    fn from_images(n: usize, preference: f64) -> Result<Vec<Self>, BoxError> {
        let label = |episode, desirable| Self { episode, desirable, mismatched: None };
        let is_first = preference >= 0.5;
        match n {
            1 => Ok(vec![label(0, is_first)]),
            2 => Ok(vec![label(0, is_first), label(1, !is_first)]),
            _ => Err("this objective learns from single images and pairs, and this is a ranked list; try \
                      `objective.name` plackett-luce"
                .into()),
        }
    }
}

impl FromImages for Demonstration {
    const MOST_SIDES: usize = 1;
    const LEAST_SIDES: usize = 1;

    fn from_images(_n: usize, _preference: f64) -> Result<Vec<Self>, BoxError> {
        Ok(vec![Self { episode: 0 }])
    }
}
