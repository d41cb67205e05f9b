//! Language models in bf16.

use engine::device::WithoutKernels;
use engine::transfer::copies;
use engine::{Precision, WithPrecision};

use super::*;
use crate::causal::GenerationConfig;
use crate::tests::{Trial, adam};

const WIDE: TokenMdp = TokenMdp { vocabulary: 96, eos: Vec::new(), max_length: 80 };

/// Wide enough to be rounded, with weights `[out, in]` and `[in, out]`.
fn wide() -> [(&'static str, CausalConfig); 2] {
    let llama = json!({ "model_type": "llama", "vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 192 });
    let gpt2 = json!({ "model_type": "gpt2", "vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "n_positions": 192 });
    [("llama", llama), ("gpt2", gpt2)].map(|(name, source)| (name, CausalConfig::from_json(source).unwrap()))
}

/// Weights as a checkpoint has them: sums of as many products as these layers have stay about 1.
fn weights(config: &CausalConfig) -> BTreeMap<String, Tensor> {
    let smaller = |(name, tensor): (String, Tensor)| {
        let tensor = if tensor.rank() == 1 { tensor } else { (tensor * 0.25).unwrap() };
        (name, tensor)
    };
    tensors(config, 1, DType::F32).into_iter().map(smaller).collect()
}

fn tokens(seed: u32, n: u32) -> Vec<u32> {
    (0..n).map(|i| (i * i * 31 + i * 17 + seed * 53) % 96).collect()
}

/// Eight pairs, together more rows than a linear layer meets in f32.
fn pairs() -> Vec<EpisodeOf<TokenMdp>> {
    let side = |i: u32| episode(&tokens(i / 2, 12), &tokens(100 + i, 14));
    (0..16).map(side).collect()
}

#[test]
fn language_models_in_bf16_are_near_f32_and_resume_to_the_bit() {
    for (name, config) in wide() {
        let make = || CausalLm::trainable(config.clone(), weights(&config), adam()).unwrap();
        Trial { mdp: WIDE, pairs: pairs(), beta: 0.1, rate: 2e-4, make: &make, gradients: CausalLm::gradients }
            .check(name);
    }
}

#[test]
fn texts_are_drawn_in_bf16_with_and_without_kernels() {
    for (name, config) in wide() {
        let model = CausalLm::frozen(config.clone(), weights(&config)).unwrap();
        // Their rows together are more than are read in f32.
        let prompts = [tokens(1, 140), tokens(2, 33), tokens(1, 96)];
        let states = prompts.clone().map(TokenState::new);
        let full = model.next_logits(&WIDE, &states).unwrap();
        let largest = full.iter().flat_map(|logits| logits.iter()).fold(0f32, |largest, x| largest.max(x.abs()));
        let _guard = WithPrecision::begin(Precision::Bf16);
        for has_kernels in [true, false] {
            let _guard = (!has_kernels).then(WithoutKernels::begin);
            let half = model.next_logits(&WIDE, &states).unwrap();
            let far = full.iter().zip(&half).flat_map(|(a, b)| a.iter().zip(b.iter()));
            let far = far.fold(0f32, |far, (a, b)| far.max((a - b).abs()));
            assert!(far > 0. && far < 2e-2 * largest, "{name}: {far} of {largest}");
            let sampling = GenerationConfig { max_new: 12, ..GenerationConfig::greedy() };
            let mut rngs = (0..3).map(rng).collect::<Vec<_>>();
            let texts = model.generate(&prompts, &sampling, &mut rngs).unwrap();
            // What was read into the cache goes on as what is read anew, to the rounding of the prompt.
            let text = [&prompts[0][..], &texts[0][..texts[0].len() - 1]].concat();
            let again = model.next_logits(&WIDE, &[TokenState::new(text)]).unwrap();
            let (last, best) = (texts[0][texts[0].len() - 1], again[0].iter().copied().fold(f32::MIN, f32::max));
            assert!(best - again[0][last as usize] < 2e-2 * largest, "{name}: {texts:?}");
        }
    }
}

#[test]
fn a_step_in_bf16_reads_the_numbers_of_decisions_and_the_norms_alone() {
    let _guard = (WithPrecision::begin(Precision::Bf16), WithoutKernels::begin());
    for (name, config) in wide() {
        let mut model = CausalLm::trainable(config.clone(), weights(&config), adam()).unwrap();
        let before = copies();
        let (numbers, tape) = model.forward(&WIDE, &pairs()).unwrap();
        let forward = copies() - before;
        model.backward(tape, &laws::random_slopes(&numbers, &mut rng(8))).unwrap();
        model.update(1e-3, Some(1.)).unwrap();
        let step = copies() - before;
        assert_eq!((forward.reads, step.reads), (1, 2), "{name}");
        let n = 6 * numbers.log_probs.values().len() + model.parameters().trainable().count();
        assert!(step.numbers_read <= n, "{name}: {step:?}");
    }
}
