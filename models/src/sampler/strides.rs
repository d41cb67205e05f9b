use mdp::diffusion::{NoiseLevel, NoiseSchedule};

use super::Sampler;

/// The noise levels before and after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stride {
    /// The level before.
    pub from: NoiseLevel,
    /// The level after.
    pub to: NoiseLevel,
    /// Whether it starts at timestep 0, where DDPM adds no noise, whatever its variance.
    pub is_from_cleanest: bool,
}

impl Sampler {
    /// The strides of steps at these timesteps of a schedule, noisiest first. Sampling, scoring and stored trajectories
    /// all use this definition.
    ///
    /// Most samplers step to the next visited timestep. DDIM always steps down by the same number of timesteps, the
    /// schedule's number over the number of steps (rounded down), as diffusers' `DDIMScheduler` does. With
    /// [`Spacing::Leading`](mdp::diffusion::Spacing::Leading) this is the next visited timestep. With other spacings it
    /// may not be, and the time given to the network then differs slightly from the level of its latent.
    ///
    /// A step below timestep 0 leads to `last`: the image, or the schedule's cleanest level.
    pub fn strides(self, schedule: &NoiseSchedule, timesteps: &[usize], last: NoiseLevel) -> Vec<Stride> {
        let down = schedule.len() / timesteps.len().max(1);
        let stride = |(i, &t): (usize, &usize)| {
            let next = match self {
                Self::Ddim { .. } => t.checked_sub(down),
                Self::Ddpm { .. } | Self::Euler | Self::Renoise | Self::FlowSde { .. } | Self::DpmSolverPlusPlus2M => {
                    timesteps.get(i + 1).copied()
                }
            };
            let to = next.map_or(last, |next| schedule.level(next));
            Stride { from: schedule.level(t), to, is_from_cleanest: t == 0 }
        };
        timesteps.iter().enumerate().map(stride).collect()
    }
}
