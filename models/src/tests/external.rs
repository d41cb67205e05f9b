//! Networks of another library, in whose place stand two small ones with gradients by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::noise::normal;
use engine::optim::Sgd;
use mdp::chance::standard_normal;
use mdp::diffusion::{DenoisingAction, DenoisingMdp, DenoisingState, Latent, NoiseLevel, NoiseSchedule};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Channels, Episode, EpisodeOf, Mdp as _, Rng};
use policies::{Learner as _, Persist as _, Policy as _, laws};
use rand_chacha::rand_core::SeedableRng as _;
use serde_json::Value;

use crate::ModelError;
use crate::causal::{CausalConfig, CausalLm, ExternalSizes, TokenBatch};
use crate::denoiser::{
    Conditioning, Denoiser, ExternalDenoiserConfig, LatentShape, LearnerOptions, PixelBatch, Prediction, SamplerConfig,
};
use crate::external::{External, ExternalInstance, ExternalNetwork, ExternalTape, ExternalTensor, NamedNumbers};
use crate::sampler::Sampler;

const VOCABULARY: usize = 7;
const MDP: TokenMdp = TokenMdp { vocabulary: VOCABULARY as u32, eos: Vec::new(), max_length: 8 };
const SHAPE: LatentShape = LatentShape { height: 2, width: 3, channels: 2 };

/// A network whose output is linear in each of its tensors, by the rule of its batch.
#[derive(Debug)]
struct Linear {
    tensors: BTreeMap<String, ExternalTensor>,
}

/// An instance, and as a tape what it has read.
#[derive(Clone, Debug, Default)]
struct Weights {
    weights: NamedNumbers,
}

/// The terms of an output's number: the tensor, the place in it, and the factor.
type Terms = Vec<Vec<(&'static str, usize, f32)>>;

trait Rule {
    fn terms(&self) -> Terms;
}

/// The logits of a place are a row for its token, and half of one for the token before.
impl Rule for TokenBatch {
    fn terms(&self) -> Terms {
        let places = self.wanted.iter().flat_map(|&(sequence, position)| {
            let tokens = &self.tokens[sequence * self.length..][..=position];
            let row = |back: usize| tokens.len().checked_sub(back + 1).map(|at| tokens[at] as usize * VOCABULARY);
            (0..VOCABULARY).map(move |logit| {
                let now = row(0).map(|row| ("now", row + logit, 1.0));
                now.into_iter().chain(row(1).map(|row| ("before", row + logit, 0.5))).collect()
            })
        });
        places.collect()
    }
}

/// A prediction is the pixel, the time and the mean of the caption, by factors for each channel.
impl Rule for PixelBatch {
    fn terms(&self) -> Terms {
        let [_, channels, height, width] = self.shape;
        let size = channels * height * width;
        let number = |(at, pixel): (usize, &f32)| {
            let (image, channel) = (at / size, at % size / (height * width));
            let told = self.context.as_ref().map_or(0.0, |(states, [length, width])| {
                states[image * length * width..(image + 1) * length * width].iter().sum::<f32>() / *length as f32
            });
            vec![("pixel", channel, *pixel), ("time", channel, self.times[image] / 10.0), ("told", channel, told)]
        };
        self.pixels.iter().enumerate().map(number).collect()
    }
}

impl<B: Rule> ExternalNetwork<B> for Linear {
    fn identity(&self) -> &'static str {
        "linear"
    }

    fn tensors(&self) -> &BTreeMap<String, ExternalTensor> {
        &self.tensors
    }

    fn instance(&self) -> Result<Box<dyn ExternalInstance<B>>, ModelError> {
        Ok(Box::new(Weights::default()))
    }

    fn write(&self, folder: &Path, weights: &NamedNumbers) -> Result<(), ModelError> {
        std::fs::write(folder.join("weights.txt"), format!("{weights:?}")).map_err(|e| ModelError::io(folder, e))
    }
}

impl<B: Rule> ExternalInstance<B> for Weights {
    fn set_weights(&mut self, weights: &NamedNumbers) -> Result<(), ModelError> {
        self.weights.clone_from(weights);
        Ok(())
    }

    fn run(&mut self, batch: &B) -> Result<Vec<f32>, ModelError> {
        let number =
            |terms: Vec<(&str, usize, f32)>| terms.iter().map(|(name, at, x)| self.weights[*name][*at] * x).sum();
        Ok(batch.terms().into_iter().map(number).collect())
    }

    fn record(&mut self, batch: &B) -> Result<(Vec<f32>, Box<dyn ExternalTape>), ModelError> {
        let zeros = self.weights.iter().map(|(name, numbers)| (name.clone(), vec![0.0; numbers.len()])).collect();
        Ok((self.run(batch)?, Box::new(Pass { zeros, terms: batch.terms() })))
    }
}

#[derive(Debug)]
struct Pass {
    zeros: NamedNumbers,
    terms: Terms,
}

impl ExternalTape for Pass {
    fn backward(self: Box<Self>, slopes: &[f32]) -> Result<NamedNumbers, ModelError> {
        let mut all = self.zeros;
        for (terms, slope) in self.terms.iter().zip(slopes) {
            for (name, at, factor) in terms {
                all.get_mut(*name).unwrap()[*at] += slope * factor;
            }
        }
        // A tensor that does not learn gets none.
        all.remove("told");
        Ok(all)
    }
}

fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

/// Tensors of these sizes, drawn.
fn drawn(sizes: [(&str, &[usize]); 2], fixed: Option<(&str, &[usize])>) -> (Linear, BTreeMap<String, Tensor>) {
    let shapes = sizes.iter().map(|size| (size, true)).chain(fixed.iter().map(|size| (size, false)));
    let described = |((name, shape), learns): (&(&str, &[usize]), bool)| {
        ((*name).to_owned(), ExternalTensor { shape: shape.to_vec(), learns })
    };
    let tensors: BTreeMap<String, ExternalTensor> = shapes.map(described).collect();
    let noise = Noise::new(3);
    let numbers = tensors.iter().map(|(name, tensor)| {
        (name.clone(), normal(&mut noise.stream(name, 0), tensor.shape.as_slice(), 0.8, &Device::Cpu).unwrap())
    });
    let numbers = numbers.collect();
    (Linear { tensors }, numbers)
}

fn language_model() -> (CausalConfig, BTreeMap<String, Tensor>) {
    let (network, tensors) = drawn([("now", &[VOCABULARY, VOCABULARY]), ("before", &[VOCABULARY, VOCABULARY])], None);
    let sizes = ExternalSizes { vocabulary: VOCABULARY, max_positions: 8, bos: None, eos: vec![0] };
    (CausalConfig::external(External::new(network), sizes, Value::Null), tensors)
}

fn options() -> LearnerOptions {
    LearnerOptions::new(Box::new(Sgd::new(0.0).unwrap()))
}

fn learner() -> CausalLm {
    let (config, tensors) = language_model();
    CausalLm::trainable(config, tensors, options()).unwrap()
}

fn answers() -> Vec<EpisodeOf<TokenMdp>> {
    let answer = |prompt: &[u32], tokens: &[u32]| Episode::whole(TokenState::new(prompt), tokens.to_vec());
    vec![
        answer(&[1, 2], &[3, 4, 5]),
        answer(&[1, 2], &[3, 4]),
        answer(&[6], &[1, 1, 1, 2]),
        answer(&[1, 2], &[3, 6, 0]),
        answer(&[4, 3], &[]),
    ]
}

#[test]
fn language_models_of_another_library_obey_the_laws() {
    let starts = [TokenState::new([1u32, 2].as_slice()), TokenState::new([5u32].as_slice())];
    let mut model = learner();
    laws::check_policy(&MDP, &model, &starts, 3, 1e-5).unwrap();
    laws::check_proposals(&MDP, &model, &starts, 5, 1e-5).unwrap();
    laws::check_cursor(&MDP, &model, &starts, 3, 6, 1e-5).unwrap();
    laws::check_learner(&MDP, &mut model, &answers(), 4, 1e-4).unwrap();
    laws::check_gradient(&MDP, learner, &answers(), 5, 1e-2, 1e-2).unwrap();
}

#[test]
fn their_numbers_are_those_of_the_network_alone() {
    let (config, tensors) = language_model();
    let model = CausalLm::frozen(config, tensors.clone()).unwrap();
    let numbers = |name: &str| tensors[name].to_vec2::<f32>().unwrap();
    let (now, before) = (numbers("now"), numbers("before"));
    let found = model.score(&MDP, &answers()).unwrap().log_probs;
    for (episode, row) in answers().iter().zip(found.rows()) {
        let mut tokens: Vec<u32> = episode.pieces[0].start.tokens().collect();
        for (token, log_prob) in episode.pieces[0].actions.iter().zip(row) {
            let [.., last] = tokens[..] else { panic!("an empty prompt") };
            let earlier = tokens.len().checked_sub(2).map(|at| tokens[at] as usize);
            let logit = |i: usize| {
                f64::from(now[last as usize][i]) + earlier.map_or(0.0, |row| 0.5 * f64::from(before[row][i]))
            };
            let sum: f64 = (0..VOCABULARY).map(|i| logit(i).exp()).sum();
            assert!((logit(*token as usize) - sum.ln() - log_prob).abs() < 1e-5);
            tokens.push(*token);
        }
    }
}

#[test]
fn updates_reach_the_network_and_checkpoints_hold_them() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut model = learner();
    let reference = Arc::new(model.frozen_copy().unwrap());
    let before = model.score(&MDP, &answers()).unwrap();
    let step = |model: &mut CausalLm| {
        let (numbers, tape) = model.forward(&MDP, &answers()).unwrap();
        model.backward(tape, &Channels::from(numbers.log_probs.filled(-1.0))).unwrap();
        model.update(0.1, None).unwrap();
    };
    step(&mut model);
    let after = model.score(&MDP, &answers()).unwrap();
    assert!(after.log_probs.values().iter().sum::<f64>() > before.log_probs.values().iter().sum::<f64>() + 0.1);
    assert_eq!(reference.score(&MDP, &answers()).unwrap(), before);
    let diagnosed = model.diagnosed_against(Arc::clone(&reference)).unwrap().score(&MDP, &answers()).unwrap();
    assert!(diagnosed.divergence.unwrap().values().iter().all(|divergence| *divergence > 0.0));
    model.save_checkpoint(folder.path()).unwrap();
    let mut other = learner();
    assert_eq!(other.score(&MDP, &answers()).unwrap(), before);
    other.restore_checkpoint(folder.path()).unwrap();
    assert_eq!(other.score(&MDP, &answers()).unwrap(), after);
    assert_eq!(other.fingerprint().unwrap(), model.fingerprint().unwrap());
    model.export(&out.path().join("model")).unwrap();
    assert!(out.path().join("model/weights.txt").is_file());
}

fn denoiser() -> Denoiser {
    let (network, tensors) = drawn([("pixel", &[2]), ("time", &[2])], Some(("told", &[2])));
    let size = (SHAPE.height, SHAPE.width);
    let network = External::<PixelBatch>::new(network);
    let config = ExternalDenoiserConfig { network, size, channels: 2, context: Some(3), source: Value::Null };
    let acting =
        SamplerConfig { sampler: Sampler::Ddim { eta: 0.8 }, last: NoiseLevel::IMAGE, clip: None, guidance: None };
    Denoiser::trainable(config, tensors, Prediction::Epsilon, SHAPE, acting, options()).unwrap()
}

#[test]
fn denoisers_of_another_library_obey_the_laws() {
    let schedule = Arc::new(NoiseSchedule::linear(12, 1e-3, 0.3).unwrap());
    let mdp = DenoisingMdp::new(schedule, vec![9, 6, 3, 0], SHAPE.size());
    let numbers = |n: usize, seed: u64| -> Vec<f32> {
        let rng = &mut rng(seed);
        (0..n).map(|_| standard_normal(rng) as f32).collect()
    };
    // Captions of two lengths.
    let told = |length: usize| Arc::new(Conditioning::of_hidden(numbers(3 * length, 9), length));
    let toward = |done: usize, length: usize| {
        let [clean, noise]: [Latent; 2] = [1, 2].map(|seed| numbers(SHAPE.size(), seed).into());
        let latent = mdp.schedule.noised(&clean, &noise, mdp.timesteps[done]).into();
        let start = DenoisingState { context: told(length), latent: Some(latent), done };
        Episode::whole(start, vec![DenoisingAction::Toward { clean, noise }])
    };
    let episodes = [toward(0, 1), toward(2, 2), toward(3, 1)];
    let mut model = denoiser();
    let starts = [mdp.start(&told(1)), mdp.start(&told(2))];
    laws::check_policy(&mdp, &model, &starts, 4, 1e-3).unwrap();
    laws::check_scores(&mdp, &model, &episodes, 1e-4).unwrap();
    laws::check_learner(&mdp, &mut model, &episodes, 4, 1e-3).unwrap();
    laws::check_gradient(&mdp, denoiser, &episodes, 5, 1e-4, 1e-2).unwrap();
}
