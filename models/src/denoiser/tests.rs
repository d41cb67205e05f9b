//! Denoisers against the laws, and every gradient against finite differences.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::checkpoint::Recompute;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets};
use engine::noise::normal;
use engine::optim::Sgd;
use engine::{Noise, Rng};
use mdp::chance::standard_normal;
use mdp::diffusion::{DenoisingAction, DenoisingMdp, DenoisingState, Latent, NoiseLevel, NoiseSchedule};
use mdp::{Channels, Episode, EpisodeOf, Mdp as _, Piece};
use rand_chacha::rand_core::SeedableRng as _;
use serde_json::json;

use super::{Condition, Conditioning, Denoiser, LatentShape, LearnerOptions, Prediction, SamplerConfig};
use crate::sampler::Sampler;
use crate::scheduler::Scheduler;
use crate::unet::UNetConfig;
use policies::{Learner as _, Persist as _, Policy as _, laws};

type ConditionedMdp = DenoisingMdp<Condition>;

const SHAPE: LatentShape = LatentShape { height: 4, width: 4, channels: 2 };

fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

fn network(dtype: DType) -> (UNetConfig, BTreeMap<String, Tensor>) {
    let config = UNetConfig::from_json(json!({
        "_class_name": "UNet2DConditionModel", "sample_size": 4, "in_channels": 2, "out_channels": 2,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "block_out_channels": [4, 8], "layers_per_block": 1, "attention_head_dim": 2, "cross_attention_dim": 3,
        "norm_num_groups": 2,
    }));
    let config = config.unwrap();
    let tensors = config.initial_tensors(&Noise::new(5), &Device::Cpu).unwrap();
    let cast = |(name, tensor): (String, Tensor)| (name, tensor.to_dtype(dtype).unwrap());
    (config, tensors.into_iter().map(cast).collect())
}

fn frozen(dtype: DType, prediction: Prediction, acting: SamplerConfig) -> Denoiser {
    let (config, tensors) = network(dtype);
    Denoiser::frozen(config, tensors, prediction, SHAPE, acting).unwrap()
}

fn trainable(dtype: DType, acting: SamplerConfig, training: LearnerOptions) -> Denoiser {
    let (config, tensors) = network(dtype);
    Denoiser::trainable(config, tensors, Prediction::Epsilon, SHAPE, acting, training).unwrap()
}

fn condition(seed: u64) -> Condition {
    let rng = &mut rng(seed);
    Arc::new(Conditioning::of_hidden((0..6).map(|_| standard_normal(rng) as f32).collect(), 2))
}

fn acting(guidance: bool) -> SamplerConfig {
    let guidance = guidance.then(|| (2.5, condition(99)));
    SamplerConfig { sampler: Sampler::Ddim { eta: 0.8 }, last: NoiseLevel::IMAGE, clip: None, guidance }
}

fn training(lora: bool, recompute: Recompute, ema: Option<f64>) -> LearnerOptions {
    let targets = LoraTargets::Named(["to_q", "to_v", "conv1"].map(str::to_owned).into());
    let lora = lora.then_some(LoraConfig { rank: 2, alpha: 3.0, rslora: false, targets, extra: LoraExtra::None });
    LearnerOptions { lora, seed: 3, recompute, ema, ..LearnerOptions::new(Box::new(Sgd::new(0.0).unwrap())) }
}

fn problem() -> ConditionedMdp {
    let schedule = Arc::new(NoiseSchedule::linear(12, 1e-3, 0.3).unwrap());
    DenoisingMdp::new(schedule, vec![9, 6, 3, 0], SHAPE.size())
}

fn latent(rng: &mut Rng) -> Latent {
    (0..SHAPE.size()).map(|_| standard_normal(rng) as f32).collect()
}

/// A trajectory from its initial noise, and an episode of two forward-noised decisions.
fn episodes(mdp: &ConditionedMdp) -> Vec<EpisodeOf<ConditionedMdp>> {
    let rng = &mut rng(1);
    let start = mdp.start(&condition(1));
    let actions = (0..5).map(|_| DenoisingAction::Next(latent(rng))).collect();
    let toward = |done: usize, rng: &mut Rng| {
        let (clean, noise) = (latent(rng), latent(rng));
        let x = mdp.schedule.noised(&clean, &noise, mdp.timesteps[done]).into();
        let start = DenoisingState { context: condition(2), latent: Some(x), done };
        Piece { start, actions: vec![DenoisingAction::Toward { clean, noise }], weight: 0.3 }
    };
    vec![Episode::whole(start, actions), Episode { pieces: vec![toward(0, rng), toward(3, rng)] }]
}

#[test]
fn denoisers_obey_the_laws() {
    for guidance in [false, true] {
        let (mdp, policy) = (problem(), frozen(DType::F32, Prediction::Velocity, acting(guidance)));
        let starts = [mdp.start(&condition(1)), mdp.start(&condition(2))];
        laws::check_policy(&mdp, &policy, &starts, 4, 1e-3).unwrap();
        laws::check_scores(&mdp, &policy, &episodes(&mdp), 1e-3).unwrap();
        laws::check_cursor(&mdp, &policy, &starts, 5, 6, 1e-3).unwrap();
        let drawn = policy.rollout(&mdp, &starts, &mut rng(6)).unwrap();
        let scores = policy.score(&mdp, &drawn).unwrap().log_probs;
        // The initial noise scores 0, and so does the last step, which is deterministic.
        assert_eq!((scores.row(0).len(), scores.row(0)[0], scores.row(0)[4]), (5, 0.0, 0.0));
        let states: Vec<_> =
            drawn.iter().map(|episode| mdp.step(&episode.pieces[0].start, &episode.pieces[0].actions[0])).collect();
        let proposals = policy.propose(&mdp, &states, 2, &mut rng(7)).unwrap();
        assert_eq!((states.len(), proposals.len()), (2, 2));
        for (state, proposals) in states.iter().zip(proposals) {
            assert_eq!(proposals.len(), 2);
            for proposal in proposals {
                let episode = Episode::whole(state.clone(), vec![proposal.action]);
                let scored = policy.score(&mdp, &[episode]).unwrap().log_probs.values()[0];
                assert!((scored - proposal.log_prob).abs() < 1e-3 * scored.abs(), "{scored} {}", proposal.log_prob);
                assert_eq!(proposal.prior, 0.5);
            }
        }
    }
}

/// Scores are those of the maps' sums, on both kinds of decisions and in every prediction type.
#[test]
fn maps_add_up_to_the_scores() {
    for (guidance, prediction) in [(false, Prediction::Epsilon), (true, Prediction::Velocity)] {
        let (mdp, policy) = (problem(), frozen(DType::F64, prediction, acting(guidance)));
        let mut episodes = episodes(&mdp);
        // More decisions than a batch has.
        let (more, places) = (episodes[1].pieces[0].clone(), SHAPE.height * SHAPE.width);
        episodes[1].pieces.extend(std::iter::repeat_n(more, 40));
        let maps = policy.error_maps(&mdp, &episodes).unwrap();
        let scores = policy.score(&mdp, &episodes).unwrap().log_probs;
        assert!(maps.iter().flatten().all(|map| map.len() == places));
        for (map, score) in maps[1].iter().zip(scores.row(1)) {
            assert!((map.iter().sum::<f64>() + score).abs() < 1e-5 * (1.0 + score.abs()), "{score}");
            assert!(map.iter().all(|error| *error >= 0.0) && map.iter().any(|error| *error != map[0]));
        }
        // Of drawn latents the difference of two policies is left, as the constants are the same.
        let (config, mut tensors) = network(DType::F64);
        let moved = (tensors["conv_out.bias"].clone() + 0.1).unwrap();
        tensors.insert("conv_out.bias".to_owned(), moved);
        let other = Denoiser::frozen(config, tensors, prediction, SHAPE, acting(guidance)).unwrap();
        let (others, other) =
            (other.error_maps(&mdp, &episodes).unwrap(), other.score(&mdp, &episodes).unwrap().log_probs);
        for step in 0..5 {
            let of_maps: f64 = others[0][step].iter().zip(&maps[0][step]).map(|(theirs, ours)| theirs - ours).sum();
            let of_scores = scores.row(0)[step] - other.row(0)[step];
            assert!((of_maps - of_scores).abs() < 1e-4 * (1.0 + of_scores.abs()), "{step}: {of_maps} {of_scores}");
            assert_eq!(of_scores == 0.0, [0, 4].contains(&step));
        }
    }
}

/// A stored trajectory has the score recorded when it was drawn, in every spacing, also where the last step leads only
/// to the cleanest timestep (`set_alpha_to_one: false`) and so is stochastic.
#[test]
fn a_stored_trajectory_scores_what_its_drawing_noted() {
    for spacing in ["leading", "linspace", "trailing"] {
        let config = json!({
            "_class_name": "DDIMScheduler", "num_train_timesteps": 100, "beta_schedule": "scaled_linear", "beta_start": 1e-3,
            "beta_end": 0.1, "clip_sample": false, "set_alpha_to_one": false, "timestep_spacing": spacing, "steps_offset": 1,
        });
        let scheduler = Scheduler::parse(Path::new("here"), &config.to_string()).unwrap();
        let sampler = Sampler::Ddim { eta: 0.7 };
        let plan = scheduler.plan(sampler, 7).unwrap();
        let acting = SamplerConfig { last: scheduler.last_level(sampler).unwrap(), ..SamplerConfig::plain(sampler) };
        let policy = frozen(DType::F64, Prediction::Epsilon, acting);
        let drawn = policy
            .generate(&plan, &[condition(3)], &mut [rng(4)], &mut |_| ControlFlow::Continue(()))
            .unwrap()
            .remove(0);
        let mdp = DenoisingMdp::new(plan.schedule, plan.timesteps, SHAPE.size());
        let start = DenoisingState { context: condition(3), latent: Some(Arc::clone(&drawn.latents[0])), done: 0 };
        let actions = drawn.latents[1..].iter().map(|latent| DenoisingAction::Next(Arc::clone(latent))).collect();
        let scores = policy.score(&mdp, &[Episode::whole(start, actions)]).unwrap().log_probs;
        let ratio = |(own, noted): (&f64, &f64)| (own - noted).abs() / noted.abs().max(1.0);
        assert_eq!((scores.row(0).len(), drawn.log_probs.len()), (7, 7), "{spacing}");
        for (step, pair) in scores.row(0).iter().zip(&drawn.log_probs).enumerate() {
            assert!(ratio(pair) < 1e-4, "{spacing}, step {step}: {} scored, {} drawn", pair.0, pair.1);
        }
        // A trajectory with even spacing ends at timestep 0, which is the cleanest already.
        assert_eq!(drawn.log_probs[6] != 0.0, spacing != "linspace", "{spacing}");
    }
}

#[test]
fn drawing_ends_when_nobody_wants_it_any_more() {
    let config = json!({ "_class_name": "DDIMScheduler", "num_train_timesteps": 100, "clip_sample": false });
    let sampler = Sampler::Ddim { eta: 0.0 };
    let plan = Scheduler::parse(Path::new("here"), &config.to_string()).unwrap().plan(sampler, 7).unwrap();
    let policy = frozen(DType::F64, Prediction::Epsilon, SamplerConfig::plain(sampler));
    let mut steps = Vec::new();
    let drawn = policy.generate(&plan, &[condition(3)], &mut [rng(4)], &mut |step| {
        steps.push(step);
        if step < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(drawn, Err(crate::ModelError::Interrupted)));
    assert_eq!(steps, [1, 2, 3]);
}

fn sum(numbers: &Channels, slopes: &Channels) -> f64 {
    assert!(numbers.log_probs.same_shape(&slopes.log_probs));
    numbers.log_probs.values().iter().zip(slopes.log_probs.values()).map(|(a, b)| a * b).sum()
}

#[test]
fn every_parameter_follows_finite_differences() {
    for (guidance, lora, recompute) in
        [(false, false, Recompute::Nothing), (true, false, Recompute::Blocks), (false, true, Recompute::Nothing)]
    {
        let mdp = problem();
        let mut policy = trainable(DType::F64, acting(guidance), training(lora, recompute, None));
        if lora {
            // A zero-initialised adapter would hide half of its gradient.
            for (name, var) in policy.parameters().trainable().filter(|(name, _)| name.contains("lora_B")) {
                let value = normal(&mut Noise::new(2).stream(name, 0), var.shape(), 0.3, &Device::Cpu).unwrap();
                var.set(&value.to_dtype(DType::F64).unwrap()).unwrap();
            }
        }
        let (numbers, tape) = policy.forward(&mdp, &episodes(&mdp)).unwrap();
        let slopes = laws::random_slopes(&numbers, &mut rng(8));
        policy.backward(tape, &slopes).unwrap();
        let gradients = policy.gradients().unwrap();
        assert_eq!(gradients.missing(policy.parameters()), Vec::<&str>::new());
        for (name, var) in policy.parameters().trainable() {
            let direction = normal(&mut Noise::new(9).stream(name, 0), var.shape(), 1., &Device::Cpu).unwrap();
            let direction = direction.to_dtype(DType::F64).unwrap();
            let start = var.as_tensor().copy().unwrap().detach();
            let moved = |step: f64| {
                var.set(&(&start + (&direction * step).unwrap()).unwrap()).unwrap();
                sum(&policy.score(&mdp, &episodes(&mdp)).unwrap(), &slopes)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            var.set(&start).unwrap();
            let slope = (gradients.get(name).unwrap() * direction).unwrap().sum_all().unwrap();
            let slope = slope.to_scalar::<f64>().unwrap();
            let error = (slope - difference).abs() / difference.abs().max(1.);
            assert!(error < 1e-5, "{name}: slope {slope}, finite differences say {difference}");
        }
    }
}

#[test]
fn a_density_is_a_squared_error() {
    let mdp = problem();
    let policy = frozen(DType::F64, Prediction::Velocity, acting(false));
    let episode = &episodes(&mdp)[0];
    let sampling = policy.acting().sampling(&mdp, Prediction::Velocity).unwrap();
    let scores = policy.score(&mdp, std::slice::from_ref(episode)).unwrap().log_probs;
    let mut state = episode.pieces[0].start.clone();
    for (decision, action) in episode.pieces[0].actions.iter().enumerate() {
        let DenoisingAction::Next(next) = action else { panic!("a trajectory draws its latents") };
        if let Some(latent) = &state.latent {
            let time = mdp.schedule.time(mdp.timesteps[state.done]);
            let query =
                super::batch::NetworkQuery { latent: Arc::clone(latent), time, condition: Arc::clone(&state.context) };
            let prediction = policy.predict(&[query]).unwrap().remove(0);
            let expected = sampling.log_density(state.done, latent, &prediction, next);
            let got = scores.row(0)[decision];
            assert!((got - expected).abs() < 1e-4 * expected.abs().max(1.0), "decision {decision}: {got} {expected}");
        }
        state = mdp.step(&state, action);
    }
}

#[test]
fn a_checkpoint_brings_everything_back() {
    let mdp = problem();
    let make = || {
        let training = training(false, Recompute::Nothing, Some(0.5));
        trainable(DType::F32, acting(false), training)
    };
    let step = |policy: &mut Denoiser| {
        let (numbers, tape) = policy.forward(&mdp, &episodes(&mdp)).unwrap();
        policy.backward(tape, &numbers.log_probs.filled(-1.0).into()).unwrap();
        policy.update(1e-3, Some(1.0)).unwrap();
    };
    let mut policy = make();
    let fresh = policy.fingerprint().unwrap();
    step(&mut policy);
    assert_ne!(policy.fingerprint().unwrap(), fresh);
    let folder = tempfile::tempdir().unwrap();
    policy.save_checkpoint(folder.path()).unwrap();
    step(&mut policy);
    let mut other = make();
    other.restore_checkpoint(folder.path()).unwrap();
    step(&mut other);
    assert_eq!(policy.fingerprint().unwrap(), other.fingerprint().unwrap());
    // The export has the average.
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    policy.export(&ours.path().join("unet")).unwrap();
    other.export(&theirs.path().join("unet")).unwrap();
    let name = "unet/diffusion_pytorch_model.safetensors";
    let read = |folder: &std::path::Path| std::fs::read(folder.join(name)).unwrap();
    assert!(read(ours.path()) == read(theirs.path()));
}

#[test]
fn the_base_is_the_denoiser_before_its_adapters() {
    let mdp = problem();
    let before = frozen(DType::F32, Prediction::Epsilon, acting(true));
    let training = training(true, Recompute::Nothing, None);
    let mut policy = trainable(DType::F32, acting(true), training);
    let score = |policy: &Denoiser| policy.score(&mdp, &episodes(&mdp)).unwrap();
    for _ in 0..2 {
        let (numbers, tape) = policy.forward(&mdp, &episodes(&mdp)).unwrap();
        policy.backward(tape, &numbers.log_probs.filled(-1.0).into()).unwrap();
        policy.update(1e-2, Some(1.0)).unwrap();
    }
    assert_ne!(score(&policy), score(&before));
    let base = policy.base().unwrap();
    assert_eq!(score(&base), score(&before));
    assert_eq!(base.fingerprint().unwrap(), before.fingerprint().unwrap());
    assert!(before.base().is_err());
}

#[test]
fn a_fingerprint_is_of_settings_and_not_of_their_file() {
    let of = |config: UNetConfig, prediction| {
        let tensors = network(DType::F32).1;
        Denoiser::frozen(config, tensors, prediction, SHAPE, acting(false)).unwrap().fingerprint().unwrap()
    };
    let config = network(DType::F32).0;
    let plain = of(config.clone(), Prediction::Epsilon);
    let mut noted = config.clone();
    noted.source["_diffusers_version"] = json!("0.99");
    assert_eq!(of(noted, Prediction::Epsilon), plain);
    assert_ne!(of(config.clone(), Prediction::Velocity), plain);
    let mut other = config;
    other.norm_epsilon *= 2.0;
    assert_ne!(of(other, Prediction::Epsilon), plain);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mdp = problem();
    let refuse = |acting: SamplerConfig, episode: EpisodeOf<ConditionedMdp>| {
        let policy = frozen(DType::F32, Prediction::Epsilon, acting);
        policy.score(&mdp, &[episode]).unwrap_err().to_string()
    };
    let trajectory = episodes(&mdp).remove(0);
    let deterministic = SamplerConfig::plain(Sampler::Euler);
    assert!(refuse(deterministic, trajectory.clone()).contains("steps that have a density"));
    let clipped = SamplerConfig { clip: Some(1.0), ..acting(false) };
    assert!(refuse(clipped, trajectory).contains("without clipping"));
    let short: Latent = vec![0.0; 3].into();
    let start = DenoisingState { context: condition(1), latent: Some(Arc::clone(&short)), done: 0 };
    let episode = Episode::whole(start, vec![DenoisingAction::Next(short)]);
    assert!(refuse(acting(false), episode).contains("32 numbers"));
    let other = LatentShape { channels: 3, ..SHAPE };
    let (config, tensors) = network(DType::F32);
    let error = Denoiser::frozen(config, tensors, Prediction::Epsilon, other, acting(false)).unwrap_err();
    assert!(error.to_string().contains("2 channels in"), "{error}");
}

/// A number towards an image is minus the squared error, so d(number)/d(prediction) is -2 (prediction - target), and its product
/// with itself -4 times the number.
#[test]
fn what_moves_two_decisions_is_multiplied() {
    let mdp = problem();
    let denoiser = trainable(DType::F64, acting(true), training(false, Recompute::Nothing, None));
    let episodes = episodes(&mdp);
    let (numbers, tape) = denoiser.forward(&mdp, &episodes).unwrap();
    let last = episodes.len() - 1;
    let own = |place| denoiser.output_products(&tape, &[[(last, place), (last, place)]]).unwrap()[0];
    for (place, number) in numbers.log_probs.row(last).iter().enumerate() {
        assert!((own(place) + 4.0 * number).abs() < 1e-4 * number.abs(), "{} {number}", own(place));
    }
    let both = denoiser.output_products(&tape, &[[(last, 0), (last, 1)], [(last, 1), (last, 0)]]).unwrap();
    assert!((both[0] - both[1]).abs() < 1e-9 && both[0].powi(2) <= own(0) * own(1) && both[0] != 0.0, "{both:?}");
    assert_eq!(denoiser.output_products(&tape, &[[(0, 0), (0, 1)]]).unwrap(), [0.0]);
}

#[test]
fn a_reference_follows_the_denoiser() {
    let mdp = problem();
    let mut denoiser = trainable(DType::F32, acting(false), training(true, Recompute::Nothing, None));
    let episodes = episodes(&mdp);
    assert!(denoiser.score_following(&mdp, &episodes).is_err());
    denoiser.follow(0.9).unwrap();
    let start = denoiser.score(&mdp, &episodes).unwrap();
    assert_eq!(denoiser.score_following(&mdp, &episodes).unwrap(), start);
    for _ in 0..3 {
        let (numbers, tape) = denoiser.forward(&mdp, &episodes).unwrap();
        denoiser.backward(tape, &numbers.log_probs.filled(-1.0).into()).unwrap();
        denoiser.update(1e-6, None).unwrap();
    }
    let [start, between, now] =
        [start, denoiser.score_following(&mdp, &episodes).unwrap(), denoiser.score(&mdp, &episodes).unwrap()]
            .map(|numbers| numbers.log_probs.values().iter().sum::<f64>());
    assert!(start < between && between < now, "{start} {between} {now}");
    let folder = tempfile::tempdir().unwrap();
    denoiser.save_checkpoint(folder.path()).unwrap();
    let mut resumed = trainable(DType::F32, acting(false), training(true, Recompute::Nothing, None));
    resumed.follow(0.9).unwrap();
    resumed.restore_checkpoint(folder.path()).unwrap();
    assert_eq!(resumed.score_following(&mdp, &episodes).unwrap(), denoiser.score_following(&mdp, &episodes).unwrap());
}
