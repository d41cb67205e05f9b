//! Every scheme of drawing decisions estimates the same gradient: that of the expected sum of log-ratios over the
//! decisions that lead to the data.
//!
//! The data are one number from N(m, 1). With noise that keeps the variance all latents have variance 1, and the exact
//! reverse of noising is ancestral sampling with the large variance and the prediction E[eps | x_t] = noise (x_t - signal
//! m): the reference. The policy predicts that plus u x + v. Its log-ratio's expected gradient has a closed form.
use mdp::Rng;
use mdp::diffusion::{NoiseLevel, NoiseSchedule};
use rand::{RngExt as _, SeedableRng as _};

use super::*;

const MEAN: f64 = 0.7;
const BETAS: [f64; 4] = [0.2, 0.3, 0.4, 0.5];
/// The trained policy, and the behaviour policy of replayed trajectories.
const LEARNER: Offset = Offset { slope: 0.3, shift: -0.2 };
const BEHAVIOUR: Offset = Offset { slope: -0.15, shift: 0.25 };
const REFERENCE: Offset = Offset { slope: 0.0, shift: 0.0 };
const DRAWS: usize = 40_000;

/// A policy's prediction minus the reference's.
#[derive(Clone, Copy)]
struct Offset {
    slope: f64,
    shift: f64,
}

type Gradient = [f64; 2];

struct World {
    schedule: NoiseSchedule,
    sampling: SamplerSteps,
}

/// A decision: its step, the latent before and after.
type Decision = (usize, f64, f64);

impl World {
    fn new() -> Self {
        let schedule = NoiseSchedule::from_betas(&BETAS).unwrap();
        let timesteps: Vec<usize> = (0..BETAS.len()).rev().collect();
        let sampler = Sampler::Ddpm { variance: Variance::Large };
        let strides = sampler.strides(&schedule, &timesteps, NoiseLevel::IMAGE);
        Self { sampling: SamplerSteps::new(sampler, Prediction::Epsilon, strides, None).unwrap(), schedule }
    }

    /// The stochastic steps: all but the last.
    fn steps(&self) -> std::ops::Range<usize> {
        0..self.sampling.n_steps() - 1
    }

    fn level(&self, step: usize) -> NoiseLevel {
        self.sampling.strides[step].from
    }

    fn predict(&self, policy: Offset, step: usize, x: f64) -> f64 {
        let level = self.level(step);
        level.noise * (x - level.signal * MEAN) + policy.slope * x + policy.shift
    }

    /// d log p / d (slope, shift) of the learner.
    fn gradient(&self, (step, x, next): Decision) -> Gradient {
        let prediction = self.predict(LEARNER, step, x) as f32;
        let slope = self.sampling.slopes(step, &[x as f32], &[prediction], &[next as f32])[0];
        [slope * x, slope]
    }

    fn log_density(&self, policy: Offset, (step, x, next): Decision) -> f64 {
        let prediction = self.predict(policy, step, x) as f32;
        self.sampling.log_density(step, &[x as f32], &[prediction], &[next as f32])
    }

    /// Draws the next latent.
    fn act(&self, policy: Offset, step: usize, x: f64, rng: &mut Rng) -> f64 {
        let gaussian = self.sampling.gaussian(step);
        let mean = gaussian.of_latent * x + gaussian.of_prediction * self.predict(policy, step, x);
        mean + gaussian.deviation * normal(rng)
    }

    /// The decisions of one trajectory.
    fn trajectory(&self, policy: Offset, rng: &mut Rng) -> Vec<Decision> {
        // The marginal of the noisiest timestep.
        let mut x = self.level(0).signal * MEAN + normal(rng);
        let mut decide = |step| {
            let next = self.act(policy, step, x, rng);
            (step, std::mem::replace(&mut x, next), next)
        };
        self.steps().map(&mut decide).collect()
    }

    /// The noise and the noised image at a step.
    fn noised(&self, step: usize, rng: &mut Rng) -> (f64, f64) {
        let (clean, noise) = (MEAN + normal(rng), normal(rng));
        let level = self.level(step);
        (noise, level.signal * clean + level.noise * noise)
    }

    /// The gradient of E sum log(policy / reference). The means of a decision are b (u x + v) apart, b being the
    /// prediction's factor, so the log-ratio's expectation is -b^2 (u x + v)^2 / (2 variance).
    fn exact(&self) -> Gradient {
        let mut total = [0.0; 2];
        for step in self.steps() {
            let factor = 2.0 * self.sampling.gaussian(step).error_weight();
            let first = self.level(step).signal * MEAN;
            let second = 1.0 + first * first;
            total[0] -= factor * (LEARNER.slope * second + LEARNER.shift * first);
            total[1] -= factor * (LEARNER.slope * first + LEARNER.shift);
        }
        total
    }
}

fn normal(rng: &mut Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn sum(gradients: impl Iterator<Item = Gradient>) -> Gradient {
    gradients.fold([0.0; 2], |total, gradient| [total[0] + gradient[0], total[1] + gradient[1]])
}

/// The distance of the mean of many draws from the exact gradient in standard errors, the larger of both parameters.
fn distance(seed: u64, mut draw: impl FnMut(&World, &mut Rng) -> Gradient) -> f64 {
    let (world, mut rng) = (World::new(), Rng::seed_from_u64(seed));
    let draws: Vec<Gradient> = (0..DRAWS).map(|_| draw(&world, &mut rng)).collect();
    let n = DRAWS as f64;
    let of = |i: usize| {
        let mean = draws.iter().map(|g| g[i]).sum::<f64>() / n;
        let variance = draws.iter().map(|g| (g[i] - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean - world.exact()[i]).abs() / (variance / n).sqrt()
    };
    of(0).max(of(1))
}

/// The confidence interval: four standard errors, exceeded by chance in one of 8000 such tests. The seeds are fixed.
fn check(name: &str, distance: f64) {
    assert!(distance < 4.0, "{name} is {distance} standard errors from the exact gradient");
}

#[test]
fn the_reference_is_exact() {
    // The reverse chain has the marginals of noising: mean signal m and variance 1 before the last step.
    let (world, mut rng) = (World::new(), Rng::seed_from_u64(1));
    let ends: Vec<f64> = (0..DRAWS).map(|_| world.trajectory(REFERENCE, &mut rng).pop().unwrap().2).collect();
    let mean = ends.iter().sum::<f64>() / DRAWS as f64;
    let variance = ends.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / DRAWS as f64;
    let error = (DRAWS as f64).sqrt().recip();
    assert!((mean - world.schedule.signal(0) * MEAN).abs() < 4.0 * error);
    assert!((variance - 1.0).abs() < 4.0 * 2f64.sqrt() * error);
}

#[test]
fn forward_noising_is_unbiased() {
    // x_t from q(x_t | x_0), x_s from q(x_s | x_t, x_0): noising in the other order.
    let drawn = distance(2, |world, rng| {
        sum(world.steps().map(|step| {
            let (noise, x) = world.noised(step, rng);
            let strides = vec![world.sampling.strides[step]];
            let posterior =
                SamplerSteps::new(Sampler::Ddpm { variance: Variance::Small }, Prediction::Epsilon, strides, None)
                    .unwrap();
            let made = posterior.step(0, &[x as f32], &[noise as f32], None, &[normal(rng) as f32]);
            world.gradient((step, x, f64::from(made.next[0])))
        }))
    });
    check("a drawn next latent", drawn);
}

#[test]
fn squared_errors_are_the_same_gradient() {
    // All next latents in expectation: minus the weight times the squared error between the noise and the prediction.
    let errors = distance(3, |world, rng| {
        sum(world.steps().map(|step| {
            let (noise, x) = world.noised(step, rng);
            let weight = world.sampling.gaussian(step).error_weight();
            let slope = 2.0 * weight * (noise - world.predict(LEARNER, step, x));
            [slope * x, slope]
        }))
    });
    check("a squared error", errors);
}

#[test]
fn one_random_timestep_is_unbiased() {
    let uniform = distance(4, |world, rng| {
        let step = rng.random_range(world.steps());
        let (noise, x) = world.noised(step, rng);
        let weight = world.steps().len() as f64 * world.sampling.gaussian(step).error_weight();
        let slope = 2.0 * weight * (noise - world.predict(LEARNER, step, x));
        [slope * x, slope]
    });
    check("one timestep of all", uniform);
}

#[test]
fn reverse_trajectories_are_unbiased() {
    let whole = distance(5, |world, rng| {
        sum(world.trajectory(REFERENCE, rng).into_iter().map(|decision| world.gradient(decision)))
    });
    check("a trajectory", whole);
}

#[test]
fn half_and_half_is_unbiased() {
    // x_t from q(x_t | x_0), x_s from the reference's step.
    let half = distance(6, |world, rng| {
        sum(world.steps().map(|step| {
            let (_, x) = world.noised(step, rng);
            world.gradient((step, x, world.act(REFERENCE, step, x, rng)))
        }))
    });
    check("half and half", half);
}

#[test]
fn replayed_trajectories_are_unbiased_with_importance_weights() {
    let replayed = |is_weighted: bool| {
        distance(7, |world, rng| {
            let mut log_weight = 0.0;
            sum(world.trajectory(BEHAVIOUR, rng).into_iter().map(|decision| {
                // A decision is weighted by the likelihood ratio of it and all earlier ones under the reference.
                log_weight += world.log_density(REFERENCE, decision) - world.log_density(BEHAVIOUR, decision);
                let weight = if is_weighted { log_weight.exp() } else { 1.0 };
                world.gradient(decision).map(|slope| weight * slope)
            }))
        })
    };
    check("a replayed trajectory", replayed(true));
    // The interval is narrow enough to detect missing weights.
    assert!(replayed(false) > 20.0);
}
