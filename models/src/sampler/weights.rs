use mdp::diffusion::NoiseLevel;

use super::{Sampler, Stride, Variance};

/// The weights of a step: next = latent x_t + clean x_0 + noise eps + previous x_0' + deviation z, where x_0 and eps
/// are the present estimates, x_0' the previous one and z is standard normal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct StepWeights {
    pub(super) latent: f64,
    pub(super) clean: f64,
    pub(super) noise: f64,
    pub(super) previous: f64,
    pub(super) deviation: f64,
}

/// From this many steps on, the last step of a solver that ends above zero noise is of second order.
const MANY_STEPS: usize = 15;

impl StepWeights {
    /// The weights of step `step`.
    pub(super) fn of(sampler: Sampler, strides: &[Stride], step: usize) -> Self {
        let Stride { from: here, to: there, .. } = strides[step];
        match sampler {
            Sampler::Ddpm { variance } => Self::ancestral(strides[step], variance),
            Sampler::Ddim { eta } => {
                let deviation = eta * posterior_variance(here, there).sqrt();
                // Rounding may make it slightly negative if all of the noise is redrawn.
                let noise = (there.noise.powi(2) - deviation.powi(2)).max(0.0).sqrt();
                Self { clean: there.signal, noise, deviation, ..Self::default() }
            }
            Sampler::Euler => Self { clean: there.signal, noise: there.noise, ..Self::default() },
            Sampler::Renoise => Self { clean: there.signal, deviation: there.noise, ..Self::default() },
            Sampler::FlowSde { noise } => Self::flow_sde(strides, step, noise),
            Sampler::DpmSolverPlusPlus2M => Self::solver(strides, step),
        }
    }

    /// x + v dt is an interpolation of the estimates of image and noise, and x + (1 - s) v is the estimate of the noise.
    fn flow_sde(strides: &[Stride], step: usize, noise: f64) -> Self {
        let Stride { from: here, to: there, .. } = strides[step];
        // At the noisiest level the coefficient would be infinite.
        let signal = if here.signal > 0.0 { here.signal } else { there.signal };
        let square = noise * noise * here.noise / signal;
        let dt = there.noise - here.noise;
        Self {
            clean: there.signal,
            noise: there.noise + square / (2.0 * here.noise) * dt,
            deviation: (square * -dt).max(0.0).sqrt(),
            ..Self::default()
        }
    }

    fn ancestral(Stride { from: here, to: there, is_from_cleanest }: Stride, variance: Variance) -> Self {
        let added = added_variance(here, there);
        let square = match variance {
            _ if is_from_cleanest => 0.0,
            Variance::Small => posterior_variance(here, there),
            Variance::Large => added,
        };
        Self {
            latent: here.signal / there.signal * (there.noise / here.noise).powi(2),
            clean: there.signal * added / here.noise.powi(2),
            deviation: square.sqrt(),
            ..Self::default()
        }
    }

    fn solver(strides: &[Stride], step: usize) -> Self {
        let n_steps = strides.len();
        let Stride { from: here, to: there, .. } = strides[step];
        let half_log_snr = |level: NoiseLevel| (level.signal / level.noise).ln();
        let length = half_log_snr(there) - half_log_snr(here);
        let gain = there.signal * -(-length).exp_m1();
        let is_last = step + 1 == n_steps;
        let of_first_order = step == 0 || (is_last && (there.noise == 0.0 || n_steps < MANY_STEPS));
        // Half of the extrapolated change of the estimate; zero if the previous step started without signal, infinitely
        // far away.
        let ahead = if of_first_order {
            0.0
        } else {
            0.5 * gain * length / (half_log_snr(here) - half_log_snr(strides[step - 1].from))
        };
        Self { latent: there.noise / here.noise, clean: gain + ahead, previous: -ahead, ..Self::default() }
    }
}

/// The variance of x_t given x_s: the noise that level t adds to level s.
fn added_variance(here: NoiseLevel, there: NoiseLevel) -> f64 {
    // In this order the difference is exactly 0 for equal levels.
    let ratio = here.signal / there.signal;
    (here.noise.powi(2) - (ratio * there.noise).powi(2)).max(0.0)
}

/// The variance of x_s given x_t and x_0.
fn posterior_variance(here: NoiseLevel, there: NoiseLevel) -> f64 {
    added_variance(here, there) * (there.noise / here.noise).powi(2)
}
