//! A transformer as a policy: the laws, on stochastic steps and on decisions toward images, with and without guidance.

use std::sync::Arc;

use candle_core::DType;
use engine::Rng;
use engine::checkpoint::Recompute;
use engine::optim::Sgd;
use mdp::chance::standard_normal;
use mdp::diffusion::{
    Condition, Conditioning, DenoisingAction, DenoisingMdp, DenoisingState, Latent, NoiseLevel, NoiseSchedule,
};
use mdp::{Episode, EpisodeOf, Mdp as _, Piece};
use policies::{Learner as _, laws};
use rand_chacha::rand_core::SeedableRng as _;

use super::{GOLDEN, is_idle};
use crate::denoiser::{Denoiser, LatentShape, LearnerOptions, Prediction, SamplerConfig};
use crate::sampler::Sampler;

type ConditionedMdp = DenoisingMdp<Condition>;

const SHAPE: LatentShape = LatentShape { height: 4, width: 4, channels: 4 };

fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

fn normal(n: usize, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| standard_normal(rng) as f32).collect()
}

/// A caption of as many tokens as the seed says, or a class.
fn condition(case: &str, seed: u64) -> Condition {
    if case == "dit" {
        return Arc::new(Conditioning::of_class(seed as u32));
    }
    let caption = Conditioning::of_hidden(normal(seed as usize * 10, &mut rng(seed)), seed as usize);
    let sizes = [0., 0., 0., 0., 32. * seed as f32, 64.];
    Arc::new(Conditioning { time_ids: (case == "sizes").then_some(sizes), ..caption })
}

fn learner(case: &str, guidance: Option<Condition>) -> Denoiser {
    let (config, tensors) = GOLDEN.files(case);
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(DType::F64).unwrap())).collect();
    let training =
        LearnerOptions { recompute: Recompute::Blocks, ..LearnerOptions::new(Box::new(Sgd::new(0.).unwrap())) };
    let guidance = guidance.map(|empty| (2.5, empty));
    let sampler = Sampler::Ddim { eta: 1. };
    let acting = SamplerConfig { sampler, last: NoiseLevel::IMAGE, clip: None, guidance };
    Denoiser::trainable(config, tensors, Prediction::Epsilon, SHAPE, acting, training).unwrap()
}

fn problem() -> ConditionedMdp {
    let schedule = Arc::new(NoiseSchedule::linear(1000, 1e-4, 0.02).unwrap());
    DenoisingMdp::new(schedule, vec![900, 500, 100, 20], SHAPE.size())
}

/// A trajectory from its initial noise, and an episode of two decisions toward images.
fn episodes(mdp: &ConditionedMdp, case: &str) -> Vec<EpisodeOf<ConditionedMdp>> {
    let rng = &mut rng(1);
    let mut latent = || -> Latent { normal(SHAPE.size(), rng).into() };
    let actions = (0..5).map(|_| DenoisingAction::Next(latent())).collect();
    let mut toward = |done: usize| {
        let (clean, noise) = (latent(), latent());
        let x = mdp.schedule.noised(&clean, &noise, mdp.timesteps[done]).into();
        let start = DenoisingState { context: condition(case, 2), latent: Some(x), done };
        Piece { start, actions: vec![DenoisingAction::Toward { clean, noise }], weight: 0.3 }
    };
    let pieces = vec![toward(0), toward(3)];
    vec![Episode::whole(mdp.start(&condition(case, 3)), actions), Episode { pieces }]
}

#[test]
fn transformers_obey_the_laws() {
    for case in ["pixart", "sizes", "dit"] {
        for guidance in [None, Some(condition(case, 4))] {
            let (mdp, mut policy) = (problem(), learner(case, guidance.clone()));
            let starts = [mdp.start(&condition(case, 1)), mdp.start(&condition(case, 5))];
            laws::check_policy(&mdp, &policy, &starts, 4, 1e-5).unwrap();
            laws::check_cursor(&mdp, &policy, &starts, 5, 6, 1e-5).unwrap();
            let episodes = episodes(&mdp, case);
            laws::check_learner(&mdp, &mut policy, &episodes, 8, 1e-6).unwrap();
            laws::check_gradient(&mdp, || learner(case, guidance.clone()), &episodes, 9, 1e-9, 1e-4).unwrap();
            let (numbers, tape) = policy.forward(&mdp, &episodes).unwrap();
            policy.backward(tape, &laws::random_slopes(&numbers, &mut rng(8))).unwrap();
            let gradients = policy.gradients().unwrap();
            assert_eq!(gradients.missing(policy.parameters()), Vec::<&str>::new());
            for (name, _) in policy.parameters().trainable().filter(|(name, _)| !is_idle(policy.config(), name)) {
                let size = gradients.get(name).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
                assert!(size > 0.0, "{case}: {name} does not learn");
            }
        }
    }
}
