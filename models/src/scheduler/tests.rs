use super::*;
use crate::sampler::Variance;

fn parse(text: &str) -> Result<Scheduler, ModelError> {
    Scheduler::parse(Path::new("scheduler_config.json"), text)
}

fn of(class: &str, more: &str) -> Result<Scheduler, ModelError> {
    parse(&format!(r#"{{"_class_name": "{class}"{more}}}"#))
}

#[test]
fn defaults_are_those_of_diffusers() {
    let scheduler = of("DDPMScheduler", "").unwrap();
    assert_eq!(*scheduler.schedule, NoiseSchedule::linear(1000, 1e-4, 0.02).unwrap());
    assert_eq!((scheduler.prediction, scheduler.clip().unwrap()), (Prediction::Epsilon, Some(1.0)));
    assert_eq!(scheduler.spacing(scheduler.sampler().unwrap()), Spacing::Leading { offset: 0 });
    assert_eq!(scheduler.sampler().unwrap(), Sampler::Ddpm { variance: Variance::Small });
    let flow = of("FlowMatchEulerDiscreteScheduler", r#", "shift": 3.0, "num_train_timesteps": 10"#).unwrap();
    assert_eq!(*flow.schedule, NoiseSchedule::flow(10, 3.0).unwrap());
    assert_eq!((flow.prediction, flow.clip().unwrap()), (Prediction::Flow, None));
}

#[test]
fn defaults_are_those_of_the_sampler_not_of_the_file() {
    let ddim = Sampler::Ddim { eta: 0.0 };
    for class in ["PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "DDPMScheduler"] {
        let scheduler = of(class, r#", "steps_offset": 1"#).unwrap();
        assert_eq!(scheduler.spacing(ddim), Spacing::Leading { offset: 1 }, "{class}");
        assert_eq!(scheduler.spacing(Sampler::Euler), Spacing::Linspace, "{class}");
        assert_eq!(scheduler.spacing(Sampler::DpmSolverPlusPlus2M), Spacing::Linspace, "{class}");
        assert_eq!(scheduler.last_level(ddim).unwrap(), NoiseLevel::IMAGE, "{class}");
        assert_eq!(scheduler.clip().unwrap(), Some(1.0), "{class}");
    }
    let large = of("EulerDiscreteScheduler", r#", "variance_type": "fixed_large""#).unwrap();
    assert_eq!(large.variance().unwrap(), Variance::Large);
}

#[test]
fn stable_diffusion_is_read_and_kept_as_it_is() {
    let text = r#"{
  "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0",
  "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
  "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false,
  "lambda_min_clipped": -Infinity, "note": "NaN and -Infinity are words here"
}"#;
    let scheduler = parse(text).unwrap();
    assert_eq!(scheduler.text(), text);
    assert_eq!(*scheduler.schedule, NoiseSchedule::scaled_linear(1000, 0.00085, 0.012).unwrap());
    let plan = scheduler.plan(scheduler.sampler().unwrap(), 4).unwrap();
    assert_eq!(plan.timesteps, [751, 501, 251, 1]);
    assert!(!plan.sampling.is_stochastic());
    // Its last step leads to the cleanest timestep, not to the image, and is stochastic there.
    let ancestral = scheduler.plan(Sampler::Ddim { eta: 1.0 }, 4).unwrap();
    assert!(ancestral.sampling.gaussian(3).deviation > 0.0);
    assert!(scheduler.plan(Sampler::DpmSolverPlusPlus2M, 4).is_ok());
}

#[test]
fn what_is_unknown_is_named() {
    let message = |scheduler: Result<Scheduler, ModelError>| scheduler.unwrap_err().to_string();
    assert_eq!(
        message(of("DDPMScheduler", r#", "beta_schedule": "sigmoid""#)),
        "scheduler_config.json: `beta_schedule`: \"sigmoid\" is not supported; supported: linear, scaled_linear, \
         squaredcos_cap_v2"
    );
    assert!(message(of("LCMScheduler", "")).contains("`_class_name`: \"LCMScheduler\" is not supported"));
    assert!(message(parse("{}")).contains("`_class_name`: is missing"));
    assert!(message(parse("[1]")).contains("not a JSON object"));
    assert!(message(parse("{")).contains("scheduler_config.json:1:1: broken JSON"));
    for (more, expected) in [
        (r#", "prediction_type": "sample""#, "`prediction_type`: \"sample\" is not supported"),
        (r#", "beta_end": "big""#, "`beta_end`: expected a number, got \"big\""),
        (r#", "beta_end": 2"#, "beta 500 is"),
        (r#", "num_train_timesteps": -1"#, "`num_train_timesteps`: expected a count"),
        (r#", "num_train_timesteps": 0"#, "number of timesteps is 0"),
        (r#", "trained_betas": [0.1, "x"]"#, "`trained_betas`: expected a list of numbers"),
        (r#", "timestep_spacing": 3"#, "`timestep_spacing`: 3 is not supported"),
        (r#", "num_train_timesteps": 1, "rescale_betas_zero_snr": true"#, "needs two timesteps"),
    ] {
        assert!(message(of("DDPMScheduler", more)).contains(expected), "{}", message(of("DDPMScheduler", more)));
    }
}

#[test]
fn settings_of_sampling_hinder_sampling_only() {
    let karras = of("EulerDiscreteScheduler", r#", "use_karras_sigmas": true"#).unwrap();
    assert_eq!(
        karras.plan(Sampler::Euler, 10).unwrap_err().to_string(),
        "scheduler_config.json: `use_karras_sigmas`: sampling with true is not supported; supported: false"
    );
    assert!(karras.plan(Sampler::Ddim { eta: 0.0 }, 10).is_ok());
    let learned = of("DDPMScheduler", r#", "variance_type": "learned_range""#).unwrap();
    assert!(learned.sampler().unwrap_err().to_string().contains("`variance_type`"));
    assert!(karras.plan(Sampler::Ddim { eta: 0.0 }, 1001).unwrap_err().to_string().contains("number of steps"));
    // Epsilon prediction can't be sampled at a level without signal.
    let blind = of("DDIMScheduler", r#", "rescale_betas_zero_snr": true, "timestep_spacing": "trailing""#).unwrap();
    assert!(blind.plan(Sampler::Ddim { eta: 0.0 }, 10).unwrap_err().to_string().contains("no signal"));
}

#[test]
fn wrong_types_are_errors_wherever_they_are_read() {
    for (class, more, expected) in [
        ("DDIMScheduler", r#", "set_alpha_to_one": "no""#, "`set_alpha_to_one`: must be true or false, not \"no\""),
        ("DDIMScheduler", r#", "clip_sample_range": [1]"#, "`clip_sample_range`: must be a number"),
        ("DDPMScheduler", r#", "beta_start": null"#, "`beta_start`: must be a number, not null"),
        ("EulerDiscreteScheduler", r#", "final_sigmas_type": 0"#, "`final_sigmas_type`: must be text"),
        ("FlowMatchEulerDiscreteScheduler", r#", "stochastic_sampling": 1"#, "`stochastic_sampling`: must be true or"),
        ("FlowMatchEulerDiscreteScheduler", r#", "shift": NaN"#, "`shift`: expected a number, got \"NaN\""),
    ] {
        let message = of(class, more).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    // Null is false in Python, though the default is true.
    assert_eq!(of("DDIMScheduler", r#", "clip_sample": null"#).unwrap().clip().unwrap(), None);
}

#[test]
fn another_prediction_leaves_the_rest_as_python_wrote_it() {
    let solver = of("DPMSolverMultistepScheduler", r#", "lambda_min_clipped": -Infinity, "beta_end": 0.012"#).unwrap();
    let velocity = solver.with_prediction("v_prediction").unwrap();
    assert_eq!((velocity.prediction, &velocity.schedule), (Prediction::Velocity, &solver.schedule));
    assert!(velocity.text().contains("\"lambda_min_clipped\": -Infinity"), "{}", velocity.text());
    assert!(velocity.plan(Sampler::DpmSolverPlusPlus2M, 5).is_ok());
    let flow = of("FlowMatchEulerDiscreteScheduler", "").unwrap().with_prediction("epsilon").unwrap_err().to_string();
    assert!(flow.contains("flow matching, which predicts no epsilon"), "{flow}");
}

#[test]
fn flow_matching_may_draw_all_noise_anew() {
    let flow = of("FlowMatchEulerDiscreteScheduler", r#", "shift": 3.0, "stochastic_sampling": true"#).unwrap();
    assert_eq!(flow.sampler().unwrap(), Sampler::Renoise);
    let plan = flow.plan(Sampler::Renoise, 4).unwrap();
    // diffusers 0.42.1, from a latent of 0.3, a prediction of -0.8 and a draw of 2 in every step.
    let expected = [1.871_923_1, 1.596_641_9, 0.792_597_9, 0.307_142_9];
    assert_eq!(plan.sampling.n_steps(), expected.len());
    for (step, expected) in expected.into_iter().enumerate() {
        let next = plan.sampling.step(step, &[0.3], &[-0.8], None, &[2.0]).next[0];
        assert!((next - expected).abs() < 1e-6, "step {step}: {next}, not {expected}");
    }
    let message = flow.plan(Sampler::Ddim { eta: 0.0 }, 4).unwrap_err().to_string();
    assert!(message.contains("`stochastic_sampling`"), "{message}");
}

#[test]
fn flow_matching_may_shift_by_the_size_of_the_images() {
    let more = r#", "use_dynamic_shifting": true, "num_train_timesteps": 1000, "base_image_seq_len": 256"#;
    let flow = of("FlowMatchEulerDiscreteScheduler", more).unwrap();
    assert!(flow.depends_on_size());
    assert_eq!(*flow.schedule, NoiseSchedule::flow(1000, 1.0).unwrap());
    assert!(flow.plan(Sampler::Euler, 4).unwrap_err().to_string().contains("size of the images"));
    // diffusers 0.42.1, with the mu of its pipelines for so many tokens.
    for (kind, tokens, expected) in [
        ("exponential", 64, [1.0, 0.761_722_74, 0.444_566_64, 0.001_595_05]),
        ("exponential", 1024, [1.0, 0.789_953_89, 0.484_967_35, 0.001_875_96]),
        ("linear", 64, [1.0, 0.483_578_8, 0.189_923_91, 0.000_467_75]),
        ("linear", 1024, [1.0, 0.557_892_2, 0.240_090_37, 0.000_630_23]),
    ] {
        let more = format!(r#"{more}, "time_shift_type": "{kind}""#);
        let flow = of("FlowMatchEulerDiscreteScheduler", &more).unwrap().for_tokens(tokens);
        let plan = flow.plan(Sampler::Euler, 4).unwrap();
        for (&t, expected) in plan.timesteps.iter().zip(expected) {
            let level = plan.schedule.noise(t);
            assert!((level - expected).abs() < 1e-6, "{kind}, {tokens}: {level}, not {expected}");
            assert!((plan.schedule.time(t) - 1000.0 * level).abs() < 1e-9);
        }
    }
    for more in [more, ""] {
        let refused = of("FlowMatchEulerDiscreteScheduler", &format!(r#"{more}, "time_shift_type": "square""#));
        assert!(refused.unwrap_err().to_string().contains("`time_shift_type`: \"square\""));
    }
}

#[test]
fn flow_matching_has_stochastic_steps_with_a_density() {
    let flow = of("FlowMatchEulerDiscreteScheduler", r#", "shift": 3.0"#).unwrap();
    let sde = Sampler::FlowSde { noise: 0.7 };
    let plan = flow.plan(sde, 4).unwrap();
    // Mean, deviation and log-density of 0.5 by Flow-GRPO's formulas in f64, from a latent of 0.3 and a prediction of -0.8.
    let expected = [
        (0.340_346_16, 0.7, -0.588_273_13),
        (0.422_535_72, 0.868_721_41, -0.782_181_42),
        (0.781_255_34, 0.663_284_47, -0.598_289_75),
        (0.308_230_7, 0.006_278_09, -462.371_264_2),
    ];
    for (step, (mean, deviation, log_density)) in expected.into_iter().enumerate() {
        let close = |got: f64, expected: f64| (got - expected).abs() < 1e-5 * (1.0 + expected.abs());
        let gaussian = plan.sampling.gaussian(step);
        let of_gaussian = gaussian.of_latent * f64::from(0.3f32) + gaussian.of_prediction * f64::from(-0.8f32);
        assert!(close(plan.sampling.mean(step, &[0.3], &[-0.8], None)[0], mean), "step {step}");
        assert!(close(of_gaussian, mean) && close(gaussian.deviation, deviation), "step {step}: {gaussian:?}");
        let found = plan.sampling.log_density(step, &[0.3], &[-0.8], &[0.5]);
        assert!((found - log_density).abs() < 1e-3 * log_density.abs(), "step {step}: {found}");
    }
    // Without noise it is the probability flow.
    let still = flow.plan(Sampler::FlowSde { noise: 0.0 }, 4).unwrap();
    let euler = flow.plan(Sampler::Euler, 4).unwrap();
    assert!(!still.sampling.is_stochastic());
    for step in 0..4 {
        let next = |plan: &SamplingPlan| plan.sampling.step(step, &[0.3], &[-0.8], None, &[]).next[0];
        assert!((next(&still) - next(&euler)).abs() < 1e-6);
    }
    let betas = of("DDIMScheduler", "").unwrap();
    assert!(betas.plan(sde, 4).unwrap_err().to_string().contains("flow-sde, which is for flow matching"));
    assert!(flow.plan(Sampler::FlowSde { noise: -1.0 }, 4).is_err());
}
