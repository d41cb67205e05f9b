//! Sampling plans: a schedule, its timesteps and the steps between them.

use std::sync::Arc;

use mdp::diffusion::{Condition, DenoisingMdp, NoiseSchedule};

use super::SamplerSteps;

/// A sampler's complete path through a schedule.
#[derive(Clone, Debug)]
pub struct SamplingPlan {
    /// The schedule of `timesteps`: the scheduler's own, or one made of the levels between its timesteps.
    pub schedule: Arc<NoiseSchedule>,
    /// The timesteps of the decisions, noisiest first.
    pub timesteps: Vec<usize>,
    /// The steps.
    pub sampling: SamplerSteps,
    /// The standard deviation of the initial noise; not exactly 1 for some Euler schedules.
    pub initial_deviation: f64,
}

impl SamplingPlan {
    /// The denoising problem whose decisions are the plan's steps, for latents of `size` numbers.
    pub fn problem(&self, size: usize) -> DenoisingMdp<Condition> {
        DenoisingMdp::new(Arc::clone(&self.schedule), self.timesteps.as_slice(), size)
    }
}
