//! Trajectories of diffusers' schedulers (`tests/golden/samplers.py` made them).
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::scheduler::Scheduler;

const GOLDEN: &str = include_str!("../../../../tests/golden/diffusion/samplers.json");

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// The toy model of the golden script.
fn model(latent: &[f32], time: f64) -> Vec<f32> {
    latent.iter().map(|x| 0.3 * x + 0.1 * (time / 100.0).sin() as f32).collect()
}

fn check_close(name: &str, step: usize, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{name} {step}");
    for (got, expected) in got.iter().zip(expected) {
        // diffusers' tables are f32; unclipped latents grow to 30.
        assert!((got - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{name} {step}: {got} is not {expected}");
    }
}

/// The plan of a case, from diffusers' own file of its scheduler, or from another scheduler's file.
fn plan(case: &Value) -> SamplingPlan {
    let scheduler = Scheduler::parse(Path::new("golden"), case["config"].as_str().unwrap()).unwrap();
    let sampler = match (case["eta"].as_f64(), case["sampler"].as_str()) {
        (Some(eta), _) => Sampler::Ddim { eta },
        (None, Some("DDPM")) => Sampler::Ddpm { variance: scheduler.variance().unwrap() },
        (None, Some("EulerDiscrete")) => Sampler::Euler,
        (None, Some(_)) => Sampler::DpmSolverPlusPlus2M,
        (None, None) => scheduler.sampler().unwrap(),
    };
    scheduler.plan(sampler, case["steps"].as_u64().unwrap() as usize).unwrap()
}

#[test]
fn trajectories_are_those_of_diffusers() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for (name, case) in golden["cases"].as_object().unwrap() {
        let plan = plan(case);
        let deviation = plan.initial_deviation as f32;
        let mut latent: Vec<f32> = numbers(&case["start"]).into_iter().map(|x| deviation * x).collect();
        let mut previous = None;
        let times = case["times"].as_array().unwrap();
        assert_eq!((plan.timesteps.len(), plan.sampling.n_steps()), (times.len(), times.len()), "{name}");
        for (step, &t) in plan.timesteps.iter().enumerate() {
            let time = plan.schedule.time(t);
            assert!((time - times[step].as_f64().unwrap()).abs() < 1e-3, "{name} {step}: {time} {}", times[step]);
            let prediction = model(&latent, time);
            let noise = numbers(&case["noises"][step]);
            let made = plan.sampling.step(step, &latent, &prediction, previous.as_deref(), &noise);
            (latent, previous) = (made.next, Some(made.clean));
            check_close(name, step, &latent, &numbers(&case["latents"][step]));
        }
    }
}

#[test]
fn log_densities_and_slopes_are_those_of_torch() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut n_scored = 0;
    for (name, case) in golden["cases"].as_object().unwrap() {
        let Some(log_densities) = case.get("log_densities") else { continue };
        let plan = plan(case);
        let mut latent = numbers(&case["start"]);
        for (step, &t) in plan.timesteps.iter().enumerate() {
            let (prediction, next) = (model(&latent, plan.schedule.time(t)), numbers(&case["latents"][step]));
            let expected = log_densities[step].as_f64().unwrap();
            let got = plan.sampling.log_density(step, &latent, &prediction, &next);
            assert!((got - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{name} {step}: {got} is not {expected}");
            let slopes = plan.sampling.slopes(step, &latent, &prediction, &next);
            let golden = numbers(&case["slopes"][step]);
            let largest = golden.iter().fold(0f32, |largest, slope| largest.max(slope.abs()));
            assert_eq!(slopes.len(), golden.len(), "{name} {step}");
            for (got, expected) in slopes.iter().zip(&golden) {
                let far = (got - f64::from(*expected)).abs();
                assert!(far < 1e-3 * f64::from(1.0 + largest), "{name} {step}: {got} is not {expected}");
            }
            n_scored += usize::from(expected != 0.0);
            latent = next;
        }
    }
    assert!(n_scored > 200, "{n_scored}");
}
