//! Whole models with kernels, and in the forms that devices without them take.

use engine::device::WithoutKernels;
use engine::lora::{LoraExtra, LoraTargets};
use engine::optim::AdamW;
use engine::transfer::{Copies, copies};
use mdp::Channels;

use super::*;
use crate::causal::{GenerationConfig, RewardModel};
use policies::Learner;

fn lora(extra: LoraExtra) -> LoraConfig {
    LoraConfig { rank: 2, alpha: 4., rslora: false, targets: LoraTargets::AllLinear, extra }
}

fn adam() -> AdamW {
    // With so large an epsilon the rounding of small gradients makes small differences.
    AdamW::new((0.9, 0.999), 1e-2, 0.01).unwrap()
}

/// All numbers of all decisions, the gradient of every parameter, and the numbers after two steps.
fn trained(model: &mut CausalLm) -> (Vec<Channels>, Vec<(String, Tensor)>) {
    let (mut numbers, mut gradients) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (scored, tape) = model.forward(&MDP, &episodes()).unwrap();
        model.backward(tape, &laws::random_slopes(&scored, &mut rng(8))).unwrap();
        let own = model.gradients().unwrap();
        assert_eq!(own.missing(model.parameters()), Vec::<&str>::new());
        gradients.extend(own.iter().map(|(name, gradient)| (name.to_owned(), gradient.copy().unwrap())));
        model.update(1e-3, Some(1.)).unwrap();
        numbers.extend([scored, model.score(&MDP, &episodes()).unwrap()]);
    }
    (numbers, gradients)
}

fn check_channels(what: &str, fused: &Channels, composed: &Channels) {
    let all = |numbers: &Channels| {
        let Channels { log_probs, divergence, entropy, mean_logit, is_likeliest, collision } = numbers.clone();
        [Some(log_probs), divergence, entropy, mean_logit, is_likeliest, collision].map(Option::unwrap)
    };
    for (fused, composed) in all(fused).iter().zip(&all(composed)) {
        assert!(fused.same_shape(composed), "{what}");
        let mut pairs = fused.values().iter().zip(composed.values());
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-4), "{what}: {fused:?} {composed:?}");
    }
}

#[test]
fn numbers_gradients_and_updates_are_the_same() {
    let adapters = [LoraExtra::None, LoraExtra::Bias, LoraExtra::Magnitude].map(|extra| Some(lora(extra)));
    for (name, config) in configs() {
        for lora in [None].into_iter().chain(adapters.clone()) {
            for recompute in [Recompute::Nothing, Recompute::Blocks] {
                let what = format!("{name}, {lora:?}, {recompute:?}");
                let run = || {
                    let options =
                        LearnerOptions { lora: lora.clone(), recompute, ..LearnerOptions::new(Box::new(adam())) };
                    let model = trainable(config.clone(), DType::F32, options).with_diagnostics();
                    let reference = Arc::new(frozen(config.clone(), 2, DType::F32));
                    let mut model = model.with_reference(reference).unwrap();
                    model.with_collision = true;
                    trained(&mut model)
                };
                let (numbers, gradients) = run();
                let _guard = WithoutKernels::begin();
                let (composed_numbers, composed_gradients) = run();
                numbers.iter().zip(&composed_numbers).for_each(|(a, b)| check_channels(&what, a, b));
                assert_eq!(gradients.len(), composed_gradients.len(), "{what}");
                for ((parameter, fused), (same, composed)) in gradients.iter().zip(&composed_gradients) {
                    assert_eq!(parameter, same, "{what}");
                    let largest = largest_difference(fused, &fused.zeros_like().unwrap()).max(1e-2);
                    let error = largest_difference(fused, composed);
                    assert!(error < 1e-3 * largest, "{what}: {parameter} differs by {error} of {largest}");
                }
            }
        }
    }
}

#[test]
fn texts_and_rewards_are_the_same() {
    for (name, config) in configs() {
        let config = CausalConfig { max_positions: 64, ..config };
        let run = || {
            let model = frozen(config.clone(), 1, DType::F32);
            // Prompts within a page, of whole pages, and some that begin alike.
            let prompt = |n: u32, last: u32| (0..n).map(|i| i * 7 % 19).chain([last]).collect::<Vec<u32>>();
            let prompts = [prompt(2, 1), prompt(15, 3), prompt(15, 4), prompt(16, 5), prompt(33, 6), prompt(2, 1)];
            let sampling = GenerationConfig { max_new: 24, ..GenerationConfig::greedy() };
            let texts = model.generate(&prompts, &sampling, &mut (0..6).map(rng).collect::<Vec<_>>()).unwrap();
            let logits = model.next_logits(&MDP, &prompts.map(TokenState::new)).unwrap();
            let mut tensors = tensors(&config, 1, DType::F32);
            tensors.retain(|name, _| config.reward_tensors().contains_key(name));
            for (name, shape) in config.reward_tensors() {
                let missing = || noise::normal(&mut rng(3), shape.clone(), 0.4, &Device::Cpu).unwrap();
                tensors.entry(name).or_insert_with(missing);
            }
            let rewards = RewardModel::new(config.clone(), tensors).unwrap().score(&texts).unwrap();
            (texts, logits, rewards)
        };
        let (texts, logits, rewards) = run();
        let _guard = WithoutKernels::begin();
        let (composed_texts, composed_logits, composed_rewards) = run();
        assert_eq!(texts, composed_texts, "{name}");
        let mut pairs = logits.iter().zip(&composed_logits).flat_map(|(a, b)| a.iter().zip(b.iter()));
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-4), "{name}");
        assert!(rewards.iter().zip(&composed_rewards).all(|(a, b)| (a - b).abs() < 1e-4), "{name}");
    }
}

/// What is copied by a call.
fn copied<R>(call: impl FnOnce() -> R) -> (R, Copies) {
    let before = copies();
    let result = call();
    (result, copies() - before)
}

#[test]
fn a_step_reads_the_numbers_of_decisions_and_the_norms_alone() {
    let _guard = WithoutKernels::begin();
    for (name, config) in configs() {
        let options = LearnerOptions { recompute: Recompute::Blocks, ..LearnerOptions::new(Box::new(adam())) };
        let mut model = trainable(config, DType::F32, options);
        let n_parameters = model.parameters().trainable().count();
        // The first step makes tables of angles.
        for is_first in [true, false] {
            let ((numbers, tape), forward) = copied(|| model.forward(&MDP, &episodes()).unwrap());
            let slopes = laws::random_slopes(&numbers, &mut rng(8));
            let ((), backward) = copied(|| model.backward(tape, &slopes).unwrap());
            let (_, update) = copied(|| model.update(1e-3, Some(1.)).unwrap());
            // Six numbers of each query; equal decisions of episodes share one.
            assert_eq!(forward.reads, 1, "{name}");
            assert!(forward.numbers_read <= 6 * numbers.log_probs.values().len(), "{name}: {forward:?}");
            assert_eq!((backward.reads, update.reads, update.numbers_read), (0, 1, n_parameters), "{name}");
            // Token ids, positions, rows and targets, a few for each of 29 tokens and each segment of the forest.
            assert!(is_first || forward.numbers_written < 600, "{name}: {forward:?}");
            assert!(backward.numbers_written <= 6 * numbers.log_probs.values().len() + 600, "{name}: {backward:?}");
            assert_eq!(update.writes, 0, "{name}");
        }
    }
}

#[test]
fn a_generated_token_reads_its_logits_alone() {
    let _guard = WithoutKernels::begin();
    for (name, config) in configs() {
        let config = CausalConfig { max_positions: 64, ..config };
        let model = frozen(config, 1, DType::F32);
        let mdp = TokenMdp { vocabulary: 23, eos: vec![0], max_length: 60 };
        let starts: Vec<TokenState> = [40, 20, 3].map(|n| TokenState::new(vec![5; n])).into();
        let mut cursor = model.cursor(&mdp, &starts).unwrap();
        cursor.log_probs(&[1; 3]).unwrap();
        for length in 41..45 {
            cursor.advance(&[1, 2, 3]).unwrap();
            let (_, made) = copied(|| cursor.log_probs(&[4; 3]).unwrap());
            assert_eq!((made.reads, made.numbers_read), (1, 3 * 23), "{name}");
            // The rows that each sequence sees, once for each window, and a few numbers beside them.
            assert!(made.numbers_written <= 2 * (4 * length + 30) + 40, "{name}: {made:?}");
        }
    }
}
