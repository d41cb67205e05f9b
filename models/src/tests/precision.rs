//! Whole models in bf16, with kernels and in the forms that devices without them take: near f32, and the same to the bit wherever a
//! run was stopped.

use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use engine::checkpoint::Recompute;
use engine::device::WithoutKernels;
use engine::optim::AdamW;
use engine::{Gradients, Noise, Precision, WithPrecision, noise};
use mdp::diffusion::{DenoisingAction, DenoisingMdp, DenoisingState, Latent, NoiseSchedule};
use mdp::{Episode, EpisodeOf, Mdp, Piece, Steps};
use policies::{Learner, Persist};
use serde_json::json;

use super::files::flat;
use super::policy::{ConditionedMdp, condition, normal, rng};
use crate::denoiser::{Denoiser, DenoiserConfig, LatentShape, LearnerOptions, Prediction, SamplerConfig};
use crate::sampler::Sampler;
use crate::sd3::Sd3Config;
use crate::unet::UNetConfig;

const STEPS: usize = 10;
/// Steps of a run that is stopped in the middle.
const STOPPED: usize = 6;

/// A model that learns from pairs: each chosen episode stands before its rejected one.
pub(crate) struct Trial<'a, M: Mdp, L> {
    pub(crate) mdp: M,
    pub(crate) pairs: Vec<EpisodeOf<M>>,
    pub(crate) beta: f64,
    pub(crate) rate: f64,
    pub(crate) make: &'a dyn Fn() -> L,
    pub(crate) gradients: fn(&L) -> Option<&Gradients>,
}

/// The losses of steps, and the gradient of the first.
#[derive(Default)]
struct Taken {
    losses: Vec<f64>,
    gradient: Vec<f32>,
}

pub(crate) fn adam() -> LearnerOptions {
    let optimizer = AdamW::new((0.9, 0.999), 1e-8, 0.01).unwrap();
    LearnerOptions { recompute: Recompute::Blocks, ..LearnerOptions::new(Box::new(optimizer)) }
}

/// The loss of DPO for pairs, and its slopes.
fn logistic(numbers: &Steps, start: &Steps, beta: f64) -> (f64, Steps) {
    let gain = |i: usize| numbers.row(i).iter().sum::<f64>() - start.row(i).iter().sum::<f64>();
    let (mut slopes, n) = (numbers.filled(0.), numbers.len() / 2);
    let mut loss = 0.;
    for pair in 0..n {
        let margin = beta * (gain(2 * pair) - gain(2 * pair + 1));
        loss += (-margin).exp().ln_1p() / n as f64;
        let slope = -beta / (1. + margin.exp()) / n as f64;
        slopes.row_mut(2 * pair).fill(slope);
        slopes.row_mut(2 * pair + 1).fill(-slope);
    }
    (loss, slopes)
}

impl<M: Mdp, L: Learner<M> + Persist> Trial<'_, M, L> {
    /// Takes steps from this one on, by the loss against the fresh model.
    fn steps(&self, learner: &mut L, steps: std::ops::Range<usize>, taken: &mut Taken) {
        let start = (self.make)().score(&self.mdp, &self.pairs).unwrap().log_probs;
        for step in steps {
            let (numbers, tape) = learner.forward(&self.mdp, &self.pairs).unwrap();
            let (loss, slopes) = logistic(&numbers.log_probs, &start, self.beta);
            learner.backward(tape, &slopes.into()).unwrap();
            if step == 0 {
                let gradients = (self.gradients)(learner).unwrap();
                taken.gradient = gradients.iter().flat_map(|(_, x)| flat(&x.copy().unwrap())).collect();
            }
            learner.update(self.rate, Some(1.)).unwrap();
            taken.losses.push(loss);
        }
    }

    fn taken(&self, precision: Precision) -> Taken {
        let _guard = WithPrecision::begin(precision);
        let (mut learner, mut taken) = ((self.make)(), Taken::default());
        self.steps(&mut learner, 0..STEPS, &mut taken);
        taken
    }

    /// Losses of bf16 are near those of f32, and so is its gradient.
    fn check_near(&self, what: &dyn fmt::Display, full: &Taken) {
        let half = self.taken(Precision::Bf16);
        let far = full.losses.iter().zip(&half.losses).fold(0f64, |worst, (a, b)| worst.max((a - b).abs()));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let sizes = dot(&full.gradient, &full.gradient) * dot(&half.gradient, &half.gradient);
        let cosine = dot(&full.gradient, &half.gradient) / sizes.sqrt();
        assert!(full.losses[STEPS - 1] < 0.6, "{what} hardly learns: {:?}", full.losses);
        assert!(far > 0. && far < 2e-2, "{what}: {:?}, in bf16 {:?}", full.losses, half.losses);
        assert!(cosine > 0.999, "{what}: {cosine}");
    }

    /// A learner that goes on from a checkpoint does as one that was never stopped.
    fn check_resumed(&self, what: &dyn fmt::Display) {
        let _guard = WithPrecision::begin(Precision::Bf16);
        let (mut whole, mut first, mut second) = ((self.make)(), (self.make)(), (self.make)());
        let (mut expected, mut found) = (Taken::default(), Taken::default());
        self.steps(&mut whole, 0..STOPPED, &mut expected);
        self.steps(&mut first, 0..STOPPED / 2, &mut found);
        let folder = tempfile::tempdir().unwrap();
        first.save_checkpoint(folder.path()).unwrap();
        second.restore_checkpoint(folder.path()).unwrap();
        self.steps(&mut second, STOPPED / 2..STOPPED, &mut found);
        assert_eq!(expected.losses, found.losses, "{what}");
        assert_eq!(whole.fingerprint().unwrap(), second.fingerprint().unwrap(), "{what}");
    }

    pub(crate) fn check(&self, name: &str) {
        let full = self.taken(Precision::F32);
        for has_kernels in [true, false] {
            let _guard = (!has_kernels).then(WithoutKernels::begin);
            let what = format!("{name}, {}", if has_kernels { "kernels" } else { "composed" });
            self.check_near(&what, &full);
            self.check_resumed(&what);
        }
    }
}

const SHAPE: LatentShape = LatentShape { height: 8, width: 8, channels: 4 };

/// Pairs of pictures that differ in their mean, each at two timesteps.
fn pictures(mdp: &ConditionedMdp, config: &DenoiserConfig) -> Vec<EpisodeOf<ConditionedMdp>> {
    let rng = &mut rng(1);
    let mut toward = |pair: usize, mean: f32, done: usize| {
        let mut latent = |mean: f32| -> Latent { normal(SHAPE.size(), rng).iter().map(|x| x + mean).collect() };
        let (clean, noise) = (latent(mean), latent(0.));
        let x = mdp.schedule.noised(&clean, &noise, mdp.timesteps[done]).into();
        let start = DenoisingState { context: condition(config, 2 + pair as u64), latent: Some(x), done };
        Piece { start, actions: vec![DenoisingAction::Toward { clean, noise }], weight: 1. }
    };
    let sides = (0..4).flat_map(|pair| [(pair, 0.5), (pair, -0.5)]);
    sides.map(|(pair, mean)| Episode { pieces: vec![toward(pair, mean, 1), toward(pair, mean, 2)] }).collect()
}

fn check_denoiser(name: &str, config: &DenoiserConfig, schedule: NoiseSchedule, prediction: Prediction) {
    let mdp: ConditionedMdp = DenoisingMdp::full(Arc::new(schedule), SHAPE.size());
    let tensors = config.initial_tensors(&Noise::new(5), &Device::Cpu).unwrap();
    // Layers that begin at zero would keep gradients from all before them.
    let moved = |(name, tensor): (&String, &Tensor)| {
        let mut rng = Noise::new(6).stream(name, 0);
        let noise = noise::normal(&mut rng, tensor.shape(), 0.03, &Device::Cpu).unwrap();
        (name.clone(), (tensor + noise).unwrap())
    };
    let make = || {
        let acting = SamplerConfig::plain(Sampler::Ddim { eta: 0. });
        let tensors = tensors.iter().map(moved).collect();
        Denoiser::trainable(config.clone(), tensors, prediction, SHAPE, acting, adam()).unwrap()
    };
    let pairs = pictures(&mdp, config);
    Trial { mdp, pairs, beta: 2e-3, rate: 3e-4, make: &make, gradients: Denoiser::gradients }.check(name);
}

#[test]
fn a_unet_in_bf16_is_near_f32_and_resumes_to_the_bit() {
    let config = UNetConfig::from_json(json!({
        "_class_name": "UNet2DConditionModel", "sample_size": 8, "in_channels": 4, "out_channels": 4,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [32, 64], "layers_per_block": 1, "attention_head_dim": 4, "cross_attention_dim": 32,
        "norm_num_groups": 8,
    }));
    let schedule = NoiseSchedule::linear(4, 0.1, 0.5).unwrap();
    check_denoiser("UNet", &config.unwrap().into(), schedule, Prediction::Epsilon);
}

#[test]
fn an_mmdit_in_bf16_is_near_f32_and_resumes_to_the_bit() {
    let config = Sd3Config::from_json(json!({
        "_class_name": "SD3Transformer2DModel", "sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4,
        "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4, "joint_attention_dim": 32,
        "caption_projection_dim": 64, "pooled_projection_dim": 32, "pos_embed_max_size": 8,
        "dual_attention_layers": [0], "qk_norm": "rms_norm",
    }));
    let schedule = NoiseSchedule::flow_levels(1000, 3., 4).unwrap();
    check_denoiser("MMDiT", &config.unwrap().into(), schedule, Prediction::Flow);
}
