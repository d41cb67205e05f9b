//! Samplers: the steps from a denoiser's prediction to the next, less noisy latent.
//!
//! Plain arithmetic on slices. Latents are always x = signal x_0 + noise eps with the levels of a schedule; samplers
//! usually written in x / signal (Euler) are the same steps in these units. A step's mean is a linear combination of
//! the latent, the estimates of image and noise, and, for the second-order solver, the previous estimate of the image.
//!
//! # Examples
//! A model that always predicts no noise only rescales the latent.
//! ```
//! use mdp::diffusion::{NoiseLevel, NoiseSchedule, Spacing};
//! use models::denoiser::Prediction;
//! use models::sampler::{Sampler, SamplerSteps};
//!
//! let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02)?;
//! let timesteps = Spacing::Trailing.timesteps(1000, 10)?;
//! let sampler = Sampler::Ddim { eta: 0.0 };
//! let strides = sampler.strides(&schedule, &timesteps, NoiseLevel::IMAGE);
//! let sampling = SamplerSteps::new(sampler, Prediction::Epsilon, strides, None)?;
//! let mut latent = vec![0.01];
//! for step in 0..sampling.n_steps() {
//!     latent = sampling.step(step, &latent, &[0.0], None, &[0.0]).next;
//! }
//! assert!((f64::from(latent[0]) - 0.01 / schedule.signal(999)).abs() < 1e-4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod plan;
mod strides;
mod weights;

use mdp::diffusion::{NoiseLevel, Prediction};

use crate::ModelError;
pub use plan::SamplingPlan;
pub use strides::Stride;
use weights::StepWeights;

/// The update rule from a latent to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Ancestral sampling: x_s from q(x_s | x_t, x_0) with the estimated image.
    ///
    /// # References
    /// Ho et al., "Denoising Diffusion Probabilistic Models", 2020, Eq. 7.
    Ddpm {
        /// The variance of a step.
        variance: Variance,
    },
    /// Interpolates between the deterministic path (`eta` 0) and ancestral sampling (`eta` 1).
    ///
    /// # References
    /// Song et al., "Denoising Diffusion Implicit Models", 2020, Eq. 12 and 16.
    Ddim {
        /// The share of DDPM's standard deviation.
        eta: f64,
    },
    /// Euler's method on the probability flow. In these units it steps to signal' x_0 + noise' eps of the estimates:
    /// DDIM with `eta` 0 without clipping. Also for flow matching.
    Euler,
    /// Steps to signal' x_0 + noise' z with the estimated image and fresh noise: Euler's method of flow matching with
    /// diffusers' `stochastic_sampling`.
    Renoise,
    /// Flow matching as a stochastic differential equation with the marginals of the probability flow, by the
    /// Euler-Maruyama method, so that every step has a density. With `noise` 0 it is [`Sampler::Euler`].
    ///
    /// From noise level s to s', with dt = s' - s and g^2 = `noise`^2 s / (1 - s), the mean is
    /// x + v dt + g^2 / (2 s) (x + (1 - s) v) dt and the variance g^2 (-dt). The noisiest level, s = 1, has 1 - s of the
    /// level after it in g.
    ///
    /// # References
    /// Liu et al., "Flow-GRPO: Training Flow Matching Models via Online RL", 2025, Eq. 9.
    FlowSde {
        /// The factor of the noise, a; 0.7 in the paper.
        noise: f64,
    },
    /// DPM-Solver++ of second order, multistep, midpoint; first order at both ends, as in diffusers.
    ///
    /// # References
    /// Lu et al., "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models", 2022, algorithm 2.
    DpmSolverPlusPlus2M,
}

/// The variance of an ancestral step from noise level t to s; b is the variance that t adds to s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variance {
    /// b noise(s)^2 / noise(t)^2: that of q(x_s | x_t, x_0), optimal for data of one point.
    #[default]
    Small,
    /// b itself, optimal for data of unit variance. A last step to the image that does not start at timestep 0 is
    /// stochastic too, as in diffusers.
    Large,
}

/// The steps of a sampler through given noise levels.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerSteps {
    sampler: Sampler,
    prediction: Prediction,
    strides: Vec<Stride>,
    clip: Option<f64>,
    weights: Vec<StepWeights>,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The next latent.
    pub next: Vec<f32>,
    /// The estimated clean image, which the next step of a multistep solver needs.
    pub clean: Vec<f32>,
}

/// The Gaussian of a decision: its mean is `of_latent` x_t + `of_prediction` times the model's prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepGaussian {
    /// The factor of the latent in the mean.
    pub of_latent: f64,
    /// The factor of the prediction in the mean.
    pub of_prediction: f64,
    /// The standard deviation of every element; 0 for a deterministic step.
    pub deviation: f64,
}

impl StepGaussian {
    /// The expected cost in log-density, in nats, per unit of the prediction's squared error: the expectation of log
    /// p(next | latent) over q(next | latent, image) is a constant minus this times the squared error. Infinite for a
    /// deterministic step.
    pub fn error_weight(self) -> f64 {
        0.5 * (self.of_prediction / self.deviation).powi(2)
    }
}

impl SamplerSteps {
    /// The steps of `sampler` along strides ([`Sampler::strides`]), noisiest first. DDPM and DDIM clip the estimated
    /// image to plus and minus `clip`, the others never do.
    ///
    /// # Errors
    /// No strides; eta outside 0 to 1; a negative noise; flow's stochastic steps for another prediction; epsilon prediction at a level without signal.
    pub fn new(
        sampler: Sampler,
        prediction: Prediction,
        strides: Vec<Stride>,
        clip: Option<f64>,
    ) -> Result<Self, ModelError> {
        if strides.is_empty() {
            return Err(argument("steps of a sampler", "at least 1", &0));
        }
        if let Sampler::Ddim { eta } = sampler
            && !(0.0..=1.0).contains(&eta)
        {
            return Err(argument("eta", "a number from 0 to 1", &eta));
        }
        if let Sampler::FlowSde { noise } = sampler {
            if !(noise >= 0.0 && noise.is_finite()) {
                return Err(argument("noise of the flow's stochastic steps", "a number from 0 up", &noise));
            }
            let is_flow = |level: NoiseLevel| (level.signal + level.noise - 1.0).abs() < 1e-6;
            if prediction != Prediction::Flow || !strides.iter().all(|stride| is_flow(stride.from)) {
                return Err(argument("sampler", "another than flow-sde, which is for flow matching", &"flow-sde"));
            }
        }
        if prediction == Prediction::Epsilon && strides.iter().any(|stride| stride.from.signal == 0.0) {
            let expected = "velocity or flow prediction where the noisiest timestep has no signal";
            return Err(argument("prediction", expected, &"epsilon"));
        }
        let clip = clip.filter(|_| matches!(sampler, Sampler::Ddpm { .. } | Sampler::Ddim { .. }));
        let weights = (0..strides.len()).map(|step| StepWeights::of(sampler, &strides, step)).collect();
        Ok(Self { sampler, prediction, strides, clip, weights })
    }

    /// The number of steps, and of decisions after the initial noise.
    pub fn n_steps(&self) -> usize {
        self.weights.len()
    }

    /// The sampler.
    pub fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// Whether some step is stochastic, so that trajectories have log-probabilities.
    pub fn is_stochastic(&self) -> bool {
        self.weights.iter().any(|weights| weights.deviation > 0.0)
    }

    /// Takes a step. `previous` is the clean image estimated one step before, `noise` a standard normal draw, not read
    /// if the step is deterministic.
    ///
    /// # Panics
    /// A step out of range.
    pub fn step(
        &self,
        step: usize,
        latent: &[f32],
        prediction: &[f32],
        previous: Option<&[f32]>,
        noise: &[f32],
    ) -> Step {
        let mut mean = self.mean(step, latent, prediction, previous);
        let deviation = self.weights[step].deviation;
        if deviation > 0.0 {
            for (value, draw) in mean.iter_mut().zip(noise) {
                *value += deviation * f64::from(*draw);
            }
        }
        Step {
            next: mean.into_iter().map(|value| value as f32).collect(),
            clean: self.clean(step, latent, prediction).into_iter().map(|value| value as f32).collect(),
        }
    }

    /// The mean of the next latent, which is the next latent if the step is deterministic.
    ///
    /// # Panics
    /// A step out of range.
    pub fn mean(&self, step: usize, latent: &[f32], prediction: &[f32], previous: Option<&[f32]>) -> Vec<f64> {
        let weights = &self.weights[step];
        let noise = self.prediction.noise(self.strides[step].from);
        let clean = self.clean(step, latent, prediction);
        let mean = latent.iter().zip(prediction).zip(clean).enumerate().map(|(i, ((&x, &p), clean))| {
            // Without a previous estimate the solver is of first order, as if that estimate were equal.
            let before = previous.map_or(clean, |previous| f64::from(previous[i]));
            weights.latent * f64::from(x)
                + weights.clean * clean
                + weights.noise * noise.of(x, p)
                + weights.previous * before
        });
        mean.collect()
    }

    /// The Gaussian of a decision, whose mean is a combination of latent and prediction, without clipping.
    ///
    /// # Panics
    /// A step out of range.
    pub fn gaussian(&self, step: usize) -> StepGaussian {
        let weights = &self.weights[step];
        let (clean, noise) =
            (self.prediction.clean(self.strides[step].from), self.prediction.noise(self.strides[step].from));
        StepGaussian {
            of_latent: weights.latent + weights.clean * clean.of_latent + weights.noise * noise.of_latent,
            of_prediction: weights.clean * clean.of_prediction + weights.noise * noise.of_prediction,
            deviation: weights.deviation,
        }
    }

    /// log p(next | latent), in nats, summed over the elements; 0 for a deterministic step.
    ///
    /// # Panics
    /// A step out of range.
    pub fn log_density(&self, step: usize, latent: &[f32], prediction: &[f32], next: &[f32]) -> f64 {
        log_density(&self.mean(step, latent, prediction, None), self.weights[step].deviation, next)
    }

    /// d [`log_density`](Self::log_density) / d prediction, element by element: 0 for a deterministic step, and 0
    /// through a clipped estimate of the image.
    ///
    /// # Panics
    /// A step out of range.
    pub fn slopes(&self, step: usize, latent: &[f32], prediction: &[f32], next: &[f32]) -> Vec<f64> {
        let weights = &self.weights[step];
        if weights.deviation == 0.0 {
            return vec![0.0; latent.len()];
        }
        let (clean, noise) =
            (self.prediction.clean(self.strides[step].from), self.prediction.noise(self.strides[step].from));
        let mean = self.mean(step, latent, prediction, None);
        let slope = |i: usize| {
            let is_clipped = self.clip.is_some_and(|clip| clean.of(latent[i], prediction[i]).abs() > clip);
            let through_clean = if is_clipped { 0.0 } else { weights.clean * clean.of_prediction };
            let of_prediction = through_clean + weights.noise * noise.of_prediction;
            (f64::from(next[i]) - mean[i]) / weights.deviation.powi(2) * of_prediction
        };
        (0..latent.len()).map(slope).collect()
    }

    /// The clean image estimated from the prediction, clipped.
    fn clean(&self, step: usize, latent: &[f32], prediction: &[f32]) -> Vec<f64> {
        let clean = self.prediction.clean(self.strides[step].from);
        let clipped = |value: f64| self.clip.map_or(value, |clip| value.clamp(-clip, clip));
        latent.iter().zip(prediction).map(|(x, p)| clipped(clean.of(*x, *p))).collect()
    }
}

/// The log-density of `next` under independent Gaussians with these means and one standard deviation, in nats, summed
/// over the elements; 0 for a deviation of 0, a deterministic decision.
pub fn log_density(mean: &[f64], deviation: f64, next: &[f32]) -> f64 {
    if deviation == 0.0 {
        return 0.0;
    }
    let squares: f64 = mean.iter().zip(next).map(|(mean, next)| ((f64::from(*next) - mean) / deviation).powi(2)).sum();
    let constant = deviation.ln() + 0.5 * std::f64::consts::TAU.ln();
    -0.5 * squares - next.len() as f64 * constant
}

/// Classifier-free guidance: `unconditional` + `scale` (`conditional` - `unconditional`). A scale of 1 gives the
/// conditional prediction.
///
/// # References
/// Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022; the scale here is 1 + w of Eq. 6.
pub fn guided(conditional: &[f32], unconditional: &[f32], scale: f32) -> Vec<f32> {
    conditional.iter().zip(unconditional).map(|(c, u)| u + scale * (c - u)).collect()
}

fn argument(what: &str, expected: &str, got: &dyn std::fmt::Display) -> ModelError {
    ModelError::Argument { what: what.to_owned(), expected: expected.to_owned(), got: got.to_string() }
}

#[cfg(test)]
mod tests;
