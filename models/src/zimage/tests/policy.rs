//! A transformer as a policy: the laws, on stochastic steps of flow matching and on decisions toward images.

use std::sync::Arc;

use candle_core::DType;
use engine::Rng;
use engine::checkpoint::Recompute;
use engine::optim::Sgd;
use mdp::chance::standard_normal;
use mdp::diffusion::{
    Condition, Conditioning, DenoisingAction, DenoisingMdp, DenoisingState, Hidden, Latent, NoiseLevel, NoiseSchedule,
};
use mdp::{Episode, EpisodeOf, Mdp as _, Piece};
use policies::{Learner as _, laws};
use rand_chacha::rand_core::SeedableRng as _;

use super::golden::files;
use crate::denoiser::{Denoiser, LatentShape, LearnerOptions, Prediction, SamplerConfig};
use crate::sampler::Sampler;
use crate::zimage::ZImageConfig;

type ConditionedMdp = DenoisingMdp<Condition>;

const SHAPE: LatentShape = LatentShape { height: 4, width: 6, channels: 4 };

fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

fn normal(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| standard_normal(rng) as f32).collect()
}

/// A caption of as many tokens as the seed says.
fn condition(config: &ZImageConfig, seed: u64) -> Condition {
    let (rng, length) = (&mut rng(seed), seed as usize);
    let hidden = Hidden { values: normal(length * config.context, rng), length, width: config.context };
    Arc::new(Conditioning { hidden: Some(hidden), ..Conditioning::default() })
}

fn acting(guidance: Option<Condition>) -> SamplerConfig {
    let guidance = guidance.map(|empty| (2.5, empty));
    SamplerConfig { sampler: Sampler::FlowSde { noise: 0.7 }, last: NoiseLevel::IMAGE, clip: None, guidance }
}

fn learner(dtype: DType, guidance: Option<Condition>) -> Denoiser {
    let (config, tensors) = files("zimage");
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect();
    let training =
        LearnerOptions { recompute: Recompute::Blocks, ..LearnerOptions::new(Box::new(Sgd::new(0.).unwrap())) };
    Denoiser::trainable(config, tensors, Prediction::Flow, SHAPE, acting(guidance), training).unwrap()
}

fn problem() -> ConditionedMdp {
    let schedule = Arc::new(NoiseSchedule::flow_levels(1000, 3.0, 4).unwrap());
    DenoisingMdp::full(schedule, SHAPE.size())
}

/// A trajectory from its initial noise, and an episode of two decisions toward images.
fn episodes(mdp: &ConditionedMdp, config: &ZImageConfig) -> Vec<EpisodeOf<ConditionedMdp>> {
    let rng = &mut rng(1);
    let mut latent = || -> Latent { normal(SHAPE.size(), rng).into() };
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

#[test]
fn transformers_obey_the_laws() {
    let config = files("zimage").0;
    for guidance in [None, Some(condition(&config, 4))] {
        let (mdp, mut policy) = (problem(), learner(DType::F64, guidance.clone()));
        let starts = [mdp.start(&condition(&config, 1)), mdp.start(&condition(&config, 5))];
        laws::check_policy(&mdp, &policy, &starts, 4, 1e-5).unwrap();
        laws::check_cursor(&mdp, &policy, &starts, 5, 6, 1e-5).unwrap();
        let episodes = episodes(&mdp, &config);
        laws::check_learner(&mdp, &mut policy, &episodes, 8, 1e-6).unwrap();
        laws::check_gradient(&mdp, || learner(DType::F64, guidance.clone()), &episodes, 9, 1e-10, 1e-4).unwrap();
        let (numbers, tape) = policy.forward(&mdp, &episodes).unwrap();
        policy.backward(tape, &laws::random_slopes(&numbers, &mut rng(8))).unwrap();
        let gradients = policy.gradients().unwrap();
        assert_eq!(gradients.missing(policy.parameters()), Vec::<&str>::new());
        for (name, _) in policy.parameters().trainable() {
            let size = gradients.get(name).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(size > 0.0, "{name} does not learn");
        }
    }
}
