//! A step of a denoiser is the same step however its batch is cut into micro-batches, and whether activations are kept.
use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::Noise;
use engine::checkpoint::Recompute;
use engine::optim::Sgd;
use mdp::chance::standard_normal;
use mdp::diffusion::{NoiseSchedule, Omega};
use models::denoiser::{Conditioning, Denoiser, LatentShape, LearnerOptions, Prediction, SamplerConfig};
use models::sampler::Sampler;
use models::unet::UNetConfig;
use objectives::{Comparison, Logistic, Pairwise};
use policies::{Persist as _, Shares};
use serde_json::json;
use train::diffusion::{
    DrawPlan, ErrorReduction, Finished, ImageExample, ImageMdp, ImageSource, NoiseSharing, Scheme, Timesteps, Units,
};
use train::step::{Loss, Reference, Slice, StepAt};
use train::{Alone, Ranks, ReferenceCache, Source as _, Threads, learn_together};

const SHAPE: LatentShape = LatentShape { height: 4, width: 4, channels: 2 };
/// Pairs in the batch; each is two images, and each image two draws.
const N: usize = 10;
/// As strong as the released codes on latents of this size.
const BETA: f64 = 500.0;
const STEPS: usize = 3;

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

fn pairs() -> Vec<ImageExample> {
    let numbers = |purpose: &str, index: usize, n: usize| -> Vec<f32> {
        let rng = &mut Noise::new(1).stream(purpose, index as u64);
        (0..n).map(|_| standard_normal(rng) as f32).collect()
    };
    let pair = |index| {
        let condition = Arc::new(Conditioning::of_hidden(numbers("caption", index, 6), 2));
        let side = |purpose| Finished {
            latent: numbers(purpose, index, SHAPE.size()).into(),
            condition: Arc::clone(&condition),
        };
        ImageExample { sides: vec![side("chosen"), side("rejected")], preference: 1.0 }
    };
    (0..N).map(pair).collect()
}

/// What a few steps showed: losses, margins and gradient norms.
type Shown = Vec<[f64; 3]>;

/// A few steps on one batch, `at_once` pairs at a time, and the weights they end with.
fn train(dtype: DType, at_once: usize, recompute: Recompute) -> (Shown, Vec<f64>) {
    let (shown, learner) = train_with((&Alone, false), dtype, at_once, recompute);
    (shown, weights_of(&learner))
}

/// The same for one of several ranks, which may share the optimiser's state.
fn train_with(
    (ranks, shards): (&dyn Ranks, bool),
    dtype: DType,
    at_once: usize,
    recompute: Recompute,
) -> (Shown, Denoiser) {
    let acting = SamplerConfig::plain(Sampler::Ddim { eta: 0.0 });
    let (config, tensors) = network(dtype);
    let reference =
        Denoiser::frozen(config.clone(), tensors.clone(), Prediction::Epsilon, SHAPE, acting.clone()).unwrap();
    let momentum = if shards { 0.9 } else { 0.0 };
    let training = LearnerOptions { recompute, ..LearnerOptions::new(Box::new(Sgd::new(momentum).unwrap())) };
    let mut learner = Denoiser::trainable(config, tensors, Prediction::Epsilon, SHAPE, acting, training).unwrap();
    let mdp = ImageMdp::full(Arc::new(NoiseSchedule::linear(100, 1e-3, 0.1).unwrap()), SHAPE.size());
    let draws = DrawPlan {
        seed: 2,
        per_example: 2,
        sets: 1,
        timesteps: Timesteps::Stratified,
        noise: NoiseSharing::Shared,
        given: None,
    };
    let units = Units { reduction: ErrorReduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
    let pairs = pairs();
    let source = ImageSource::<Comparison>::new(&pairs, mdp.clone(), draws, units, Scheme::Forward);
    let objective = Pairwise::new(Logistic::new(BETA).unwrap());
    let loss = Loss { objective: &objective, measure: &|slice, scores| source.measure(slice, scores) };
    let slices: Vec<_> = (0..N)
        .step_by(at_once)
        .map(|from| Slice::new((from..N.min(from + at_once)).map(|index| (index, source.item(index).unwrap()))))
        .collect();
    let mut reference = Reference { policy: Some(&reference), cache: ReferenceCache::default() };
    let step = |step| {
        let at = StepAt { step, rate: 1e-6, shards, ..StepAt::default() };
        let learned = learn_together(&mdp, &mut learner, &mut reference, loss, &slices, (at, ranks)).unwrap();
        [learned.loss, learned.metrics["rewards/margins"], learned.gradient_norm]
    };
    let shown = (0..STEPS).map(step).collect();
    (shown, learner)
}

fn weights_of(learner: &Denoiser) -> Vec<f64> {
    let weights = learner.parameters().trainable().flat_map(|(_, tensor)| {
        tensor.as_tensor().flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
    });
    weights.collect()
}

/// The largest difference of two rows of numbers, as a share of those that are above 1.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max)
}

const CUTS: [(usize, Recompute); 5] = [
    (1, Recompute::Nothing),
    (2, Recompute::Blocks),
    (3, Recompute::Nothing),
    (8, Recompute::Nothing),
    (N, Recompute::Blocks),
];

#[test]
fn micro_batches_are_exact() {
    let (shown, weights) = train(DType::F64, N, Recompute::Nothing);
    assert!((shown[0][0] - LN_2).abs() < 1e-15, "{shown:?}");
    assert!(shown[STEPS - 1][0] < LN_2 - 1e-3, "{shown:?}");
    for (at_once, recompute) in CUTS {
        let (others, moved) = train(DType::F64, at_once, recompute);
        let difference = apart(shown.as_flattened(), others.as_flattened());
        assert!(difference < 1e-9, "{at_once} at once, {recompute:?}: {difference}\n{shown:?}\n{others:?}");
        let difference = apart(&weights, &moved);
        assert!(difference < 1e-12, "{at_once} at once, {recompute:?}: weights {difference} apart");
    }
}

/// A network in single precision rounds its errors otherwise in a batch of another size, and beta magnifies that. What
/// does not depend on it: a policy is at first held against exactly its own numbers, so the first loss is ln 2.
#[test]
fn single_precision_rounds_and_starts_at_ln_2_all_the_same() {
    let (shown, weights) = train(DType::F32, N, Recompute::Nothing);
    for (at_once, recompute) in CUTS {
        let (others, moved) = train(DType::F32, at_once, recompute);
        // The sum of the micro-batches' shares may be a hair off.
        assert!(
            (others[0][0] - LN_2).abs() < 1e-15 && others[0][1] == 0.0,
            "{at_once} at once, {recompute:?}: {others:?}"
        );
        // A margin is beta / 2 times differences of mean squared errors of about 1, each good to f32's epsilon or so.
        let difference = apart(shown.as_flattened(), others.as_flattened());
        assert!(
            difference < BETA * f64::from(f32::EPSILON),
            "{at_once} at once, {recompute:?}: {difference}\n{shown:?}\n{others:?}"
        );
        let difference = apart(&weights, &moved);
        assert!(difference < 1e-6, "{at_once} at once, {recompute:?}: weights {difference} apart");
    }
    assert!((shown[0][0] - LN_2).abs() < 1e-15 && shown[0][1] == 0.0, "{shown:?}");
}

/// Ranks that share the batch take the same step, each with a network of its own.
#[test]
fn ranks_are_micro_batches() {
    let (shown, weights) = train(DType::F64, N, Recompute::Nothing);
    for (size, at_once) in [(2, 5), (3, 2), (4, 1)] {
        let all: Vec<(Shown, Vec<f64>)> = std::thread::scope(|scope| {
            let one = move |ranks: Threads| {
                let (shown, learner) = train_with((&ranks, false), DType::F64, at_once, Recompute::Nothing);
                (shown, weights_of(&learner))
            };
            let of = |ranks: Threads| scope.spawn(move || one(ranks));
            let running: Vec<_> = Threads::new(size).into_iter().map(of).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| *one == all[0]), "{size} ranks have the same bits");
        let difference = apart(shown.as_flattened(), all[0].0.as_flattened());
        assert!(difference < 1e-9, "{size} ranks: {difference}\n{shown:?}\n{:?}", all[0].0);
        let difference = apart(&weights, &all[0].1);
        assert!(difference < 1e-12, "{size} ranks: weights {difference} apart");
    }
}

/// Ranks that share an optimiser's state.
#[derive(Debug)]
struct Sharing<'r>(&'r dyn Ranks);

impl Shares for Sharing<'_> {
    fn own(&self, len: usize) -> Range<usize> {
        self.0.own(len)
    }

    fn complete(&self, values: &mut [f32]) {
        self.0.complete(values);
    }
}

/// What a rank shows, the weights it ends with, and the optimiser's state in the checkpoint that the first writes.
type Ended = (Shown, Vec<f64>, Vec<u8>);

/// The end of one of several ranks that share the state.
fn shared(ranks: &dyn Ranks) -> Ended {
    let (shown, learner) = train_with((ranks, true), DType::F32, 1, Recompute::Nothing);
    let folder = tempfile::tempdir().unwrap();
    if ranks.size() == 1 {
        learner.save_checkpoint(folder.path()).unwrap();
    } else {
        let own = ranks.is_leader().then_some(folder.path());
        learner.save_checkpoint_of_shares(own, &Sharing(ranks)).unwrap();
    }
    let state = folder.path().join("optimizer.safetensors");
    (shown, weights_of(&learner), if ranks.is_leader() { std::fs::read(state).unwrap() } else { Vec::new() })
}

/// Ranks that share the state are one process with as many micro-batches, and write a checkpoint like its own.
#[test]
fn ranks_share_the_optimisers_state() {
    let of = |size: usize| -> Vec<Ended> {
        std::thread::scope(|scope| {
            let of = |ranks: Threads| scope.spawn(move || shared(&ranks));
            let running: Vec<_> = Threads::new(size).into_iter().map(of).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let alone = of(1).remove(0);
    for size in [2, 3] {
        let all = of(size);
        assert!(all.iter().all(|one| one.0 == all[0].0 && one.1 == all[0].1), "{size} ranks have the same bits");
        let [difference, moved] = [apart(alone.0.as_flattened(), all[0].0.as_flattened()), apart(&alone.1, &all[0].1)];
        assert!(difference < BETA * f64::from(f32::EPSILON) && moved < 1e-6, "{size} ranks: {difference} {moved}");
        assert_eq!(alone.2.len(), all[0].2.len(), "{size} ranks write all of the state");
    }
}
