mod golden;
mod unbiased;

use mdp::diffusion::{NoiseLevel, NoiseSchedule};

use super::*;

const HERE: NoiseLevel = NoiseLevel { signal: 0.6, noise: 0.8 };
const THERE: NoiseLevel = NoiseLevel { signal: 0.8, noise: 0.6 };
const ANCESTRAL: Sampler = Sampler::Ddpm { variance: Variance::Small };

/// Strides between levels; the last starts at the cleanest timestep.
fn through(levels: &[NoiseLevel]) -> Vec<Stride> {
    let n = levels.len() - 1;
    let stride = |i: usize| Stride { from: levels[i], to: levels[i + 1], is_from_cleanest: i + 1 == n };
    (0..n).map(stride).collect()
}

fn sampling(sampler: Sampler, clip: Option<f64>) -> SamplerSteps {
    SamplerSteps::new(sampler, Prediction::Epsilon, through(&[HERE, THERE, NoiseLevel::IMAGE]), clip).unwrap()
}

fn near(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-6 * (1.0 + right.abs())
}

#[test]
fn an_ancestral_step_by_hand() {
    // (a_t / a_s)^2 = 9/16, so t adds b = 16/25 - 9/16 * 9/25 = 7/16 to s. The mean has 3/4 * (9/25) / (16/25) = 27/64 of
    // x_t and 4/5 * (7/16) / (16/25) = 35/64 of x_0; the variance is 7/16 * 9/16.
    let weights = sampling(ANCESTRAL, None).weights[0];
    assert!(near(weights.latent, 27.0 / 64.0) && near(weights.clean, 35.0 / 64.0));
    assert!(near(weights.deviation.powi(2), 63.0 / 256.0));
    let large = sampling(Sampler::Ddpm { variance: Variance::Large }, None).weights[0];
    assert!(near(large.deviation.powi(2), 7.0 / 16.0));
    // DDIM with eta 1 has the same Gaussian.
    let (ddpm, ddim) = (sampling(ANCESTRAL, None).gaussian(0), sampling(Sampler::Ddim { eta: 1.0 }, None).gaussian(0));
    assert!(near(ddpm.of_latent, ddim.of_latent) && near(ddpm.of_prediction, ddim.of_prediction));
    assert!(near(ddpm.deviation, ddim.deviation));
}

#[test]
fn the_last_step_to_the_image_is_no_decision() {
    for sampler in [ANCESTRAL, Sampler::Ddim { eta: 1.0 }, Sampler::Ddpm { variance: Variance::Large }] {
        let sampling = sampling(sampler, None);
        assert!(sampling.is_stochastic());
        assert_eq!(sampling.gaussian(1).deviation, 0.0);
        assert_eq!(sampling.log_density(1, &[1.0], &[0.5], &[7.0]), 0.0);
        assert_eq!(sampling.slopes(1, &[1.0], &[0.5], &[7.0]), [0.0]);
        // (x - .6 eps) / .8, for any draw.
        assert!(near(f64::from(sampling.step(1, &[1.0], &[0.5], None, &[9.0]).next[0]), 0.875));
    }
    assert!(!sampling(Sampler::Euler, None).is_stochastic());
}

#[test]
fn a_last_step_from_elsewhere_draws_the_large_variance_only() {
    let last = Stride { from: THERE, to: NoiseLevel::IMAGE, is_from_cleanest: false };
    let deviation = |variance| {
        let sampling = SamplerSteps::new(Sampler::Ddpm { variance }, Prediction::Epsilon, vec![last], None).unwrap();
        sampling.gaussian(0).deviation
    };
    assert_eq!(deviation(Variance::Small), 0.0);
    assert!(near(deviation(Variance::Large), 0.6));
}

#[test]
fn ddim_goes_down_by_equal_strides() {
    let schedule = NoiseSchedule::linear(10, 0.01, 0.3).unwrap();
    let last = schedule.level(0);
    let ends = |sampler: Sampler, timesteps: &[usize]| -> Vec<NoiseLevel> {
        sampler.strides(&schedule, timesteps, last).into_iter().map(|stride| stride.to).collect()
    };
    // 10 / 4 is 2, rounded down.
    let timesteps = [9, 6, 3, 1];
    let down = [7, 4, 1].map(|t| schedule.level(t));
    assert_eq!(ends(Sampler::Ddim { eta: 0.0 }, &timesteps), [&down[..], &[last]].concat());
    let next = [6, 3, 1].map(|t| schedule.level(t));
    for sampler in [ANCESTRAL, Sampler::Euler, Sampler::DpmSolverPlusPlus2M] {
        assert_eq!(ends(sampler, &timesteps), [&next[..], &[last]].concat(), "{sampler:?}");
    }
    assert!(ends(Sampler::Euler, &[]).is_empty());
}

#[test]
fn log_densities_by_hand() {
    // Two elements, one and two standard deviations off: -(1 + 4) / 2 - 2 ln 0.5 - ln tau.
    let expected = -2.5 - 2.0 * 0.5f64.ln() - std::f64::consts::TAU.ln();
    assert!(near(log_density(&[1.0, 2.0], 0.5, &[1.5, 3.0]), expected));
    assert_eq!(log_density(&[1.0], 0.0, &[3.0]), 0.0);
}

#[test]
fn slopes_are_those_of_the_log_density() {
    let (latent, prediction, next) = ([0.5, -0.3, 2.0], [0.2, 0.9, -1.0], [0.1, -0.4, 1.0]);
    for clip in [None, Some(1.0)] {
        for sampler in [ANCESTRAL, Sampler::Ddim { eta: 0.4 }, Sampler::Ddim { eta: 1.0 }] {
            let sampling = sampling(sampler, clip);
            let slopes = sampling.slopes(0, &latent, &prediction, &next);
            for i in 0..3 {
                let moved = |by: f32| {
                    let mut prediction = prediction;
                    prediction[i] += by;
                    sampling.log_density(0, &latent, &prediction, &next)
                };
                let step = 2f32.powi(-10);
                let estimate = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                assert!((slopes[i] - estimate).abs() < 1e-4 * (1.0 + estimate.abs()), "{sampler:?} {clip:?} {i}");
            }
        }
    }
}

#[test]
fn the_gaussian_is_the_mean_of_a_step() {
    for prediction in [Prediction::Epsilon, Prediction::Velocity, Prediction::Flow] {
        for sampler in [ANCESTRAL, Sampler::Ddim { eta: 0.4 }, Sampler::Euler, Sampler::DpmSolverPlusPlus2M] {
            let levels = [HERE, THERE, NoiseLevel { signal: 0.9, noise: 0.2 }, NoiseLevel::IMAGE];
            let sampling = SamplerSteps::new(sampler, prediction, through(&levels), None).unwrap();
            for (step, level) in levels[..3].iter().enumerate() {
                let gaussian = sampling.gaussian(step);
                let mean = sampling.mean(step, &[0.7], &[-0.4], None)[0];
                let mixed = gaussian.of_latent * f64::from(0.7f32) + gaussian.of_prediction * f64::from(-0.4f32);
                // The solver's mean includes the previous estimate, which equals this one if there is none.
                let previous = sampling.weights[step].previous;
                let clean = prediction.clean(*level).of(0.7, -0.4);
                assert!(near(mean, mixed + previous * clean), "{prediction:?} {sampler:?} {step}");
            }
        }
    }
}

#[test]
fn guidance_goes_beyond_the_conditional_prediction() {
    assert_eq!(guided(&[1.0, 2.0], &[0.5, 4.0], 1.0), [1.0, 2.0]);
    assert_eq!(guided(&[1.0, 2.0], &[0.5, 4.0], 0.0), [0.5, 4.0]);
    assert_eq!(guided(&[1.0, 2.0], &[0.5, 4.0], 3.0), [2.0, -2.0]);
}

#[test]
fn bad_settings_are_refused() {
    let refused = |sampler, prediction, levels: &[NoiseLevel]| {
        SamplerSteps::new(sampler, prediction, through(levels), None).unwrap_err().to_string()
    };
    let blind = NoiseLevel { signal: 0.0, noise: 1.0 };
    assert_eq!(
        refused(Sampler::Ddim { eta: 1.5 }, Prediction::Epsilon, &[HERE, THERE]),
        "eta: expected a number from 0 to 1, got 1.5"
    );
    assert!(refused(Sampler::Ddim { eta: f64::NAN }, Prediction::Epsilon, &[HERE, THERE]).contains("NaN"));
    assert!(refused(Sampler::Euler, Prediction::Epsilon, &[HERE]).contains("steps of a sampler"));
    assert!(refused(Sampler::Euler, Prediction::Epsilon, &[blind, HERE]).contains("no signal"));
}

#[test]
fn without_signal_every_sampler_makes_numbers() {
    let levels = [NoiseLevel { signal: 0.0, noise: 1.0 }, HERE, THERE, NoiseLevel::IMAGE];
    for prediction in [Prediction::Velocity, Prediction::Flow] {
        for sampler in [ANCESTRAL, Sampler::Ddim { eta: 1.0 }, Sampler::Euler, Sampler::DpmSolverPlusPlus2M] {
            let sampling = SamplerSteps::new(sampler, prediction, through(&levels), None).unwrap();
            let (mut latent, mut previous) = (vec![0.3, -1.0], None);
            for step in 0..3 {
                let made = sampling.step(step, &latent, &[0.1, 0.2], previous.as_deref(), &[1.0, -1.0]);
                (latent, previous) = (made.next, Some(made.clean));
                assert!(latent.iter().all(|x| x.is_finite()), "{prediction:?} {sampler:?} {step}: {latent:?}");
            }
        }
    }
}

#[test]
fn public_types_can_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<(SamplerSteps, Sampler, Stride, Step, StepGaussian)>();
    check::<SamplingPlan>();
    check::<crate::scheduler::Scheduler>();
}
