mod chain;

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::SeedableRng as _;
use serde_json::Value;

use super::*;
use crate::laws::{self, Walks};
use crate::{MdpError, Rng};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../tests/golden/diffusion/schedules.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

fn near(left: f64, right: f64, tolerance: f64) -> bool {
    (left - right).abs() <= tolerance
}

/// Stable Diffusion's schedule.
fn stable_diffusion() -> NoiseSchedule {
    NoiseSchedule::scaled_linear(1000, 0.00085, 0.012).unwrap()
}

#[test]
fn squared_signals_are_those_of_diffusers() {
    let golden = golden();
    let check = |name: &str, schedule: &NoiseSchedule| {
        let case = &golden["squared_signals"][name];
        let (timesteps, squares) = (indices(&case["timesteps"]), numbers(&case["alphas_cumprod"]));
        assert!(!timesteps.is_empty() && timesteps.len() == squares.len(), "{name}");
        for (t, expected) in timesteps.into_iter().zip(squares) {
            let squared = schedule.signal(t).powi(2);
            assert!(near(squared, expected, 1e-6), "{name} at {t}: {squared} is not {expected}");
            assert!(near(squared + schedule.noise(t).powi(2), 1.0, 1e-12));
            assert_eq!(schedule.time(t), t as f64);
        }
    };
    check("ddpm", &NoiseSchedule::linear(1000, 1e-4, 0.02).unwrap());
    check("stable_diffusion", &stable_diffusion());
    check("cosine", &NoiseSchedule::squared_cosine(1000).unwrap());
    check("zero_snr", &stable_diffusion().with_zero_terminal_snr());
    check("trained", &NoiseSchedule::from_betas(&[0.01, 0.02, 0.05, 0.2, 0.5]).unwrap());
}

#[test]
fn flow_levels_are_those_of_diffusers() {
    for case in golden()["flows"].as_array().unwrap() {
        let shift = case["shift"].as_f64().unwrap();
        let schedule = NoiseSchedule::flow(1000, shift).unwrap();
        let (sigmas, times) = (numbers(&case["sigmas"]), numbers(&case["times"]));
        for (i, t) in indices(&case["timesteps"]).into_iter().enumerate() {
            assert!(near(schedule.noise(t), sigmas[i], 1e-6) && near(schedule.time(t), times[i], 1e-3));
            assert!(near(schedule.signal(t) + schedule.noise(t), 1.0, 1e-12));
        }
        for sampling in case["sampling"].as_array().unwrap() {
            let n = sampling["steps"].as_u64().unwrap() as usize;
            let levels = NoiseSchedule::flow_levels(1000, shift, n).unwrap();
            let sigmas = numbers(&sampling["sigmas"]);
            // Theirs fall and end with the image.
            for (i, expected) in sigmas[..n].iter().rev().enumerate() {
                assert!(near(levels.noise(i), *expected, 1e-6), "{n} levels: {} is not {expected}", levels.noise(i));
            }
        }
    }
}

#[test]
fn even_flow_levels_are_shifted_once() {
    // Levels 1/4, 1/2, 3/4 and 1; 3 s / (1 + 2 s).
    let levels = NoiseSchedule::flow_levels_even(1000, 3.0, 4).unwrap();
    for (i, expected) in [0.5, 0.75, 0.9, 1.0].into_iter().enumerate() {
        assert!(near(levels.noise(i), expected, 1e-12) && near(levels.time(i), 1000.0 * expected, 1e-9));
    }
    assert!(NoiseSchedule::flow_levels_even(1000, 3.0, 0).is_err());
    assert!(NoiseSchedule::flow_levels_even(0, 3.0, 4).is_err());
    assert!(NoiseSchedule::flow_levels_even(1000, 0.0, 4).is_err());
}

#[test]
fn spacings_are_those_of_diffusers() {
    let schedule = stable_diffusion();
    for case in golden()["spacings"].as_array().unwrap() {
        let (n, offset) = (case["steps"].as_u64().unwrap() as usize, case["offset"].as_u64().unwrap() as usize);
        let spacing = match case["spacing"].as_str().unwrap() {
            "leading" => Spacing::Leading { offset },
            "linspace" => Spacing::Linspace,
            _ => Spacing::Trailing,
        };
        assert_eq!(spacing.timesteps(1000, n).unwrap(), indices(&case["ddim"]), "{spacing:?} {n}");
        assert_eq!(spacing.solver_timesteps(1000, n).unwrap(), indices(&case["solver"]), "{spacing:?} {n}");
        if let Some(euler) = case.get("euler") {
            let mut times = spacing.times(1000, n).unwrap();
            let euler = numbers(euler);
            assert_eq!(times.len(), euler.len(), "{spacing:?} {n}");
            assert!(times.iter().zip(euler).all(|(time, expected)| near(*time, expected, 1e-3)));
            times.reverse();
            let levels = schedule.at_times(&times).unwrap();
            for (i, expected) in numbers(&case["euler_sigmas"])[..n].iter().rev().enumerate() {
                let ratio = levels.noise(i) / levels.signal(i);
                assert!(near(ratio, *expected, 1e-4 * expected), "{spacing:?} {n}: {ratio} is not {expected}");
            }
        }
    }
}

#[test]
fn without_signal_ratios_stay_numbers() {
    let schedule = stable_diffusion().with_zero_terminal_snr();
    assert_eq!((schedule.signal(999), schedule.noise(999)), (0.0, 1.0));
    assert_eq!((schedule.snr(999), schedule.log_snr(999)), (0.0, f64::NEG_INFINITY));
    assert!(near(schedule.signal(0), stable_diffusion().signal(0), 1e-12));
    assert_eq!(Omega::MinSnr { gamma: 5.0 }.at(&schedule, 999), 1.0);
    assert_eq!(Omega::Snr.at(&schedule, 999), 0.0);
    assert_eq!(NoiseSchedule::flow(10, 1.0).unwrap().log_snr(9), f64::NEG_INFINITY);
    // A time at the last timestep does not ask for what lies beyond it.
    let levels = schedule.at_times(&[500.5, 998.0, 999.0]).unwrap();
    assert!(near(levels.signal(1), schedule.signal(998), 1e-12) && levels.signal(2) == 0.0);
    assert_eq!(levels.time(0), 500.5);
}

#[test]
fn omega_by_hand() {
    // Betas of 1/5 and 3/4: signal^2 is 4/5 and 1/5, so the ratio is 4 and 1/4.
    let schedule = NoiseSchedule::from_betas(&[0.2, 0.75]).unwrap();
    let both = |omega: Omega| [omega.at(&schedule, 0), omega.at(&schedule, 1)];
    let check = |omega, expected: [f64; 2]| {
        assert!(both(omega).iter().zip(expected).all(|(got, want)| near(*got, want, 1e-12)), "{omega:?}");
    };
    check(Omega::Constant, [1.0, 1.0]);
    check(Omega::Snr, [4.0, 0.25]);
    check(Omega::MinSnr { gamma: 1.0 }, [0.25, 1.0]);
    check(Omega::MinSnr { gamma: 5.0 }, [1.0, 1.0]);
    assert!(near(schedule.log_snr(0), 4f64.ln(), 1e-12) && near(schedule.log_snr(1), -(4f64.ln()), 1e-12));
}

#[test]
fn bad_numbers_are_refused() {
    let error = |made: Result<NoiseSchedule, MdpError>| made.unwrap_err().to_string();
    assert_eq!(
        error(NoiseSchedule::linear(0, 1e-4, 0.02)),
        "noise schedule: number of timesteps is 0, but it must be at least 1"
    );
    assert_eq!(
        error(NoiseSchedule::from_betas(&[0.1, 1.0, 0.1])),
        "noise schedule: beta 1 is 1, but it must be between 0 and 1 (only the last may be 1)"
    );
    assert!(NoiseSchedule::from_betas(&[0.1, 1.0]).is_ok());
    for bad in [f64::NAN, -0.1, 0.0, 1.5, f64::INFINITY] {
        assert!(NoiseSchedule::linear(10, bad, 0.02).is_err() && NoiseSchedule::scaled_linear(10, 0.1, bad).is_err());
        assert!(NoiseSchedule::flow(10, if bad == 1.5 { -1.5 } else { bad }).is_err());
    }
    assert!(NoiseSchedule::flow_levels(10, 1.0, 0).is_err());
    assert!(stable_diffusion().at_times(&[999.5]).is_err());
    assert!(stable_diffusion().at_times(&[5.0, 5.0]).is_err());
    assert!(Spacing::Linspace.timesteps(10, 0).is_err() && Spacing::Trailing.timesteps(10, 11).is_err());
    assert!(Spacing::Linspace.solver_timesteps(10, 10).is_err());
    let beyond = Spacing::Leading { offset: 1 }.timesteps(10, 10).unwrap_err();
    assert_eq!(beyond.to_string(), "noise schedule: the noisiest timestep is 10, but it must be inside the schedule");
}

fn normal(rng: &mut Rng, n: usize) -> Latent {
    let mut draw = || {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    (0..n).map(|_| draw() as f32).collect()
}

#[test]
fn the_denoising_problem_is_lawful() {
    let schedule = Arc::new(stable_diffusion());
    let timesteps = Spacing::Leading { offset: 1 }.timesteps(1000, 7).unwrap();
    let mdp: DenoisingMdp<&str> = DenoisingMdp::new(schedule, timesteps, 3);
    laws::check(&mdp, &["a red circle", ""], Walks::default(), &mut Rng::seed_from_u64(1), |state, rng| {
        let toward = state.latent.is_some() && rng.random();
        Some(if toward {
            DenoisingAction::Toward { clean: normal(rng, 3), noise: normal(rng, 3) }
        } else {
            DenoisingAction::Next(normal(rng, 3))
        })
    })
    .unwrap();
}

#[test]
fn noise_comes_first_and_the_image_last() {
    let schedule = Arc::new(NoiseSchedule::from_betas(&[0.2, 0.75]).unwrap());
    let mdp: DenoisingMdp<()> = DenoisingMdp::full(schedule, 1);
    let start = mdp.start(&());
    let toward = DenoisingAction::Toward { clean: [1.0].into(), noise: [0.5].into() };
    assert!(!mdp.allows(&start, &toward) && !mdp.allows(&start, &DenoisingAction::Next([1.0, 2.0].into())));
    let mut state = mdp.step(&start, &DenoisingAction::Next([2.0].into()));
    assert_eq!(mdp.timestep(&state), Some(1));
    state = mdp.step(&state, &toward);
    // sqrt(4/5) * 1 + sqrt(1/5) * 0.5.
    let expected = (0.8f64.sqrt() + 0.2f64.sqrt() * 0.5) as f32;
    assert!((state.latent.as_ref().unwrap()[0] - expected).abs() < 1e-6);
    assert!(!mdp.is_terminal(&state));
    state = mdp.step(&state, &toward);
    assert!(mdp.is_terminal(&state) && state.latent.as_deref() == Some(&[1.0][..]) && mdp.timestep(&state).is_none());
}

#[test]
fn public_types_can_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<(NoiseSchedule, Spacing, Omega)>();
    check::<(DenoisingMdp<String>, DenoisingState<String>, DenoisingAction)>();
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 60, rng_seed: RngSeed::Fixed(2404), failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn noise_rises_with_time(low in 1e-5..0.3f64, high in 1e-5..0.3f64, n in 2..60usize, shift in 0.2..6.0f64) {
        let schedules = [
            NoiseSchedule::linear(n, low, high).unwrap(),
            NoiseSchedule::scaled_linear(n, low, high).unwrap(),
            NoiseSchedule::scaled_linear(n, low, high).unwrap().with_zero_terminal_snr(),
            NoiseSchedule::squared_cosine(n).unwrap(),
            NoiseSchedule::flow(n, shift).unwrap(),
            NoiseSchedule::flow_levels(1000, shift, n).unwrap(),
        ];
        for schedule in schedules {
            prop_assert_eq!(schedule.len(), n);
            for t in 1..n {
                prop_assert!(schedule.noise(t) > schedule.noise(t - 1) && schedule.signal(t) < schedule.signal(t - 1));
                let (before, after) = (schedule.log_snr(t - 1), schedule.log_snr(t));
                prop_assert!(after < before, "{} and then {} at {} of {:?}", before, after, t, schedule);
            }
        }
    }
}
