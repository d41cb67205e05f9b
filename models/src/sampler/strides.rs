use mdp::diffusion::{NoiseLevel, NoiseSchedule};

use super::Sampler;

/// From where to where one step goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stride {
    /// The level of the latent it begins with.
    pub from: NoiseLevel,
    /// The level it leads to.
    pub to: NoiseLevel,
    /// Whether it begins at timestep 0, where DDPM draws nothing, however wide its variance.
    pub is_from_cleanest: bool,
}

impl Sampler {
    /// Where every step leads that is made at these timesteps of a schedule, which go from noisy to clean. This is the
    /// one place that says so, for sampling, for scoring and for stored trajectories.
    ///
    /// Most samplers step to the timestep that they visit next. DDIM always goes down by the same number of timesteps,
    /// that of the schedule over that of the steps (a whole number, rounded down), as diffusers' `DDIMScheduler` does. With
    /// [`Spacing::Leading`](mdp::diffusion::Spacing::Leading) this is the timestep visited next. With the others it need
    /// not be, and what the network is told then is not quite the level of the latent that it sees.
    ///
    /// A step that goes below timestep 0 leads to `last`: the image, or the schedule's cleanest level.
    pub fn strides(self, schedule: &NoiseSchedule, timesteps: &[usize], last: NoiseLevel) -> Vec<Stride> {
        let down = schedule.len() / timesteps.len().max(1);
        let stride = |(i, &t): (usize, &usize)| {
            let next = match self {
                Self::Ddim { .. } => t.checked_sub(down),
                Self::Ddpm { .. } | Self::Euler | Self::Renoise | Self::DpmSolverPlusPlus2M => {
                    timesteps.get(i + 1).copied()
                }
            };
            let to = next.map_or(last, |next| schedule.level(next));
            Stride { from: schedule.level(t), to, is_from_cleanest: t == 0 }
        };
        timesteps.iter().enumerate().map(stride).collect()
    }
}
