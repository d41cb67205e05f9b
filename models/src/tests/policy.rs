//! A network as a policy: the laws, on stochastic steps and on decisions toward images.

use std::sync::Arc;

use candle_core::DType;
use engine::Rng;
use engine::checkpoint::Recompute;
use engine::device::WithoutKernels;
use engine::optim::Sgd;
use mdp::chance::standard_normal;
use mdp::diffusion::{
    Condition, Conditioning, DenoisingAction, DenoisingMdp, DenoisingState, Hidden, Latent, NoiseLevel, NoiseSchedule,
};
use mdp::{Episode, EpisodeOf, Mdp as _, Piece};
use policies::{Learner as _, Policy as _, laws};
use rand_chacha::rand_core::SeedableRng as _;

use super::files::Golden;
use crate::denoiser::{Denoiser, DenoiserConfig, LatentShape, LearnerOptions, Prediction, SamplerConfig};
use crate::sampler::Sampler;

pub(super) type ConditionedMdp = DenoisingMdp<Condition>;

/// How far a step along the gradient moves all parameters together, whatever the size of the gradient: the difference of a
/// longer one has more of the curvature in it.
const MOVE: f64 = 1e-6;

/// How a network acts: a problem of four timesteps, its prediction and its sampler.
#[derive(Debug)]
pub(crate) struct Acting {
    pub(crate) mdp: ConditionedMdp,
    pub(crate) shape: LatentShape,
    pub(crate) prediction: Prediction,
    pub(crate) sampler: Sampler,
}

impl Acting {
    /// Velocities on the levels of a schedule, drawn by the stochastic form of flow matching.
    pub(crate) fn flow(schedule: NoiseSchedule, channels: usize) -> Self {
        let shape = LatentShape { height: 4, width: 6, channels };
        let mdp = DenoisingMdp::full(Arc::new(schedule), shape.size());
        Self { mdp, shape, prediction: Prediction::Flow, sampler: Sampler::FlowSde { noise: 0.7 } }
    }
}

pub(super) fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

pub(super) fn normal(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| standard_normal(rng) as f32).collect()
}

/// All that a network may be told: a caption of as many tokens as the seed says, or a class of that number.
pub(super) fn condition(config: &DenoiserConfig, seed: u64) -> Condition {
    let (rng, length) = (&mut rng(seed), seed as usize);
    let hidden = config.context_width().map(|width| Hidden { values: normal(length * width, rng), length, width });
    let pooled = config.pooled_width().map(|width| normal(width, rng));
    let sizes = [32., 48., 1., 0., 32. * seed as f32, 64.];
    let class = config.n_classes().map(|_| seed as u32);
    Arc::new(Conditioning { hidden, pooled, time_ids: config.reads_sizes().then_some(sizes), class })
}

fn learner(golden: &Golden, case: &str, acting: &Acting, guidance: Option<Condition>) -> Denoiser {
    let (config, tensors) = golden.files(case);
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(DType::F64).unwrap())).collect();
    let training =
        LearnerOptions { recompute: Recompute::Blocks, ..LearnerOptions::new(Box::new(Sgd::new(0.).unwrap())) };
    let guidance = guidance.map(|empty| (2.5, empty));
    let sampling = SamplerConfig { sampler: acting.sampler, last: NoiseLevel::IMAGE, clip: None, guidance };
    Denoiser::trainable(config, tensors, acting.prediction, acting.shape, sampling, training).unwrap()
}

/// A trajectory from its initial noise, and an episode of two decisions toward images.
fn episodes(acting: &Acting, config: &DenoiserConfig) -> Vec<EpisodeOf<ConditionedMdp>> {
    let (mdp, rng) = (&acting.mdp, &mut rng(1));
    let mut latent = || -> Latent { normal(acting.shape.size(), rng).into() };
    let actions = (0..5).map(|_| DenoisingAction::Next(latent())).collect();
    let mut toward = |done: usize| {
        let (clean, noise) = (latent(), latent());
        let x = mdp.schedule.noised(&clean, &noise, mdp.timesteps[done]).into();
        let start = DenoisingState { context: condition(config, 2), latent: Some(x), done };
        Piece { start, actions: vec![DenoisingAction::Toward { clean, noise }], weight: 0.3 }
    };
    let pieces = vec![toward(0), toward(3)];
    vec![Episode::whole(mdp.start(&condition(config, 3)), actions), Episode { pieces }]
}

/// The norm of the gradient that a law takes with this seed.
fn gradient_norm(
    mdp: &ConditionedMdp,
    mut learner: Denoiser,
    episodes: &[EpisodeOf<ConditionedMdp>],
    seed: u64,
) -> f64 {
    let (numbers, tape) = learner.forward(mdp, episodes).unwrap();
    learner.backward(tape, &laws::random_slopes(&numbers, &mut rng(seed))).unwrap();
    learner.update(0., None).unwrap()
}

/// Decisions, their gradient and what is drawn are the same in the forms that devices without kernels take.
fn check_both_forms(golden: &Golden, case: &str, acting: &Acting, guidance: Option<&Condition>) {
    let (config, mdp) = (golden.files(case).0, &acting.mdp);
    let starts = [mdp.start(&condition(&config, 1)), mdp.start(&condition(&config, 5))];
    let run = || -> Vec<f64> {
        let mut policy = learner(golden, case, acting, guidance.cloned());
        let (numbers, tape) = policy.forward(mdp, &episodes(acting, &config)).unwrap();
        policy.backward(tape, &laws::random_slopes(&numbers, &mut rng(8))).unwrap();
        let mut all: Vec<f64> = numbers.log_probs.values().to_vec();
        all.push(policy.update(1e-3, Some(1.)).unwrap());
        let mut cursor = policy.cursor(mdp, &starts).unwrap();
        for step in 0..3 {
            let mut rngs = [rng(step), rng(step + 7)];
            let drawn = cursor.draw(&mut rngs.iter_mut().collect::<Vec<_>>()).unwrap();
            cursor.advance(&drawn).unwrap();
            let latents = cursor.states().iter().filter_map(|state| state.latent.clone()).collect::<Vec<Latent>>();
            all.extend(latents.iter().flat_map(|latent| latent.iter().copied()).map(f64::from));
        }
        all
    };
    let fused = run();
    let _guard = WithoutKernels::begin();
    let composed = run();
    let (largest, mut pairs) = (fused.iter().fold(1., |m, x| x.abs().max(m)), fused.iter().zip(&composed));
    assert_eq!(fused.len(), composed.len(), "{case}");
    assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-5 * largest), "{case}: {fused:?} {composed:?}");
}

/// The laws of policies and learners, with and without guidance, and a gradient of every parameter.
pub(crate) fn check_policy(golden: &Golden, case: &str, acting: &Acting) {
    let (config, mdp) = (golden.files(case).0, &acting.mdp);
    for guidance in [None, Some(condition(&config, 4))] {
        check_both_forms(golden, case, acting, guidance.as_ref());
        let mut policy = learner(golden, case, acting, guidance.clone());
        let starts = [mdp.start(&condition(&config, 1)), mdp.start(&condition(&config, 5))];
        laws::check_policy(mdp, &policy, &starts, 4, 1e-5).unwrap();
        laws::check_cursor(mdp, &policy, &starts, 5, 6, 1e-5).unwrap();
        let episodes = episodes(acting, &config);
        laws::check_learner(mdp, &mut policy, &episodes, 8, 1e-6).unwrap();
        let fresh = || learner(golden, case, acting, guidance.clone());
        let step = MOVE / gradient_norm(mdp, fresh(), &episodes, 9);
        laws::check_gradient(mdp, fresh, &episodes, 9, step, 1e-4).unwrap();
        let (numbers, tape) = policy.forward(mdp, &episodes).unwrap();
        policy.backward(tape, &laws::random_slopes(&numbers, &mut rng(8))).unwrap();
        let gradients = policy.gradients().unwrap();
        assert_eq!(gradients.missing(policy.parameters()), Vec::<&str>::new());
        for (name, _) in policy.parameters().trainable().filter(|(name, _)| !(golden.is_idle)(&config, name)) {
            let size = gradients.get(name).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(size > 0.0, "{case}: {name} does not learn");
        }
    }
}
