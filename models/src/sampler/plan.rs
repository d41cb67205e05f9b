//! A whole way from noise to an image: a schedule, its timesteps and the steps between them.

use std::sync::Arc;

use mdp::diffusion::{Condition, DenoisingMdp, NoiseSchedule};

use super::Sampling;

/// A sampler's way through a schedule.
#[derive(Clone, Debug)]
pub struct SamplingPlan {
    /// The schedule that `timesteps` are of: the scheduler's own, or one made of the levels between its timesteps.
    pub schedule: Arc<NoiseSchedule>,
    /// Where the decisions are made, from noisy to clean.
    pub timesteps: Vec<usize>,
    /// The steps.
    pub sampling: Sampling,
    /// The standard deviation of the noise that it starts from; not quite 1 for some of Euler's.
    pub initial_deviation: f64,
}

impl SamplingPlan {
    /// The denoising problem whose decisions are the plan's steps, on latents of `size` numbers.
    pub fn problem(&self, size: usize) -> DenoisingMdp<Condition> {
        DenoisingMdp::new(Arc::clone(&self.schedule), self.timesteps.as_slice(), size)
    }
}
