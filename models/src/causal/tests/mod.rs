//! The laws of a language model, on tiny random ones of every architecture.

mod adapters;
mod cache;
mod composed;
mod forests;
mod gradients;
mod precision;
mod quantised;
mod sampling;
mod storage;
mod worlds;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::checkpoint::Recompute;
use engine::lora::LoraConfig;
use engine::optim::Sgd;
use engine::{Noise, noise};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf, Rng};
use rand_chacha::rand_core::SeedableRng as _;
use serde_json::{Value, json};

use super::{CausalConfig, CausalLm, LearnerOptions};
use policies::{Learner as _, Policy, laws};

const MDP: TokenMdp = TokenMdp { vocabulary: 21, eos: Vec::new(), max_length: 14 };

/// Every architecture with every variant.
fn configs() -> Vec<(&'static str, CausalConfig)> {
    let neox = json!({ "model_type": "gpt_neox", "vocab_size": 23, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16, "rotary_pct": 0.5 });
    let gpt2 = json!({ "model_type": "gpt2", "vocab_size": 23, "n_embd": 8, "n_layer": 2, "n_head": 2,
        "n_positions": 16 });
    let llama = json!({ "model_type": "llama", "vocab_size": 23, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16 });
    let with = |base: &Value, changes: Value| {
        let mut source = base.clone();
        for (key, value) in changes.as_object().unwrap() {
            source[key] = value.clone();
        }
        source
    };
    let sources = [
        ("neox parallel", neox.clone()),
        ("neox serial", with(&neox, json!({ "use_parallel_residual": false, "tie_word_embeddings": true }))),
        ("neox without biases", with(&neox, json!({ "attention_bias": false }))),
        ("gpt2", gpt2.clone()),
        ("gpt2 untied", with(&gpt2, json!({ "tie_word_embeddings": false }))),
        ("llama untied", llama.clone()),
        ("llama tied", with(&llama, json!({ "tie_word_embeddings": true, "hidden_act": "gelu" }))),
        ("llama with biases", with(&llama, json!({ "attention_bias": true, "mlp_bias": true, "head_dim": 4 }))),
        ("qwen2", with(&llama, json!({ "model_type": "qwen2" }))),
    ];
    let further = families().map(|(name, changes)| (name, with(&llama, changes)));
    sources.into_iter().chain(further).map(|(name, source)| (name, CausalConfig::from_json(source).unwrap())).collect()
}

/// The other families, with windows, norms, scalings, factors and soft bounds where they have them.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn families() -> [(&'static str, Value); 11] {
    let second = ["full_attention", "sliding_attention"];
    let yarn = json!({ "rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 6 });
    let nested = json!({ "full_attention": yarn, "sliding_attention": { "rope_type": "default", "rope_theta": 9.0 } });
    let named = |family: &str, mut changes: Value| {
        changes["model_type"] = json!(family);
        changes
    };
    [
        ("qwen3", named("qwen3", json!({ "head_dim": 4, "attention_bias": true, "rope_parameters": yarn }))),
        ("mistral", named("mistral", json!({ "sliding_window": 3 }))),
        ("ministral", named("ministral", json!({ "sliding_window": 2, "layer_types": second }))),
        ("smollm3", named("smollm3", json!({ "no_rope_layers": [0, 1], "mlp_bias": true }))),
        (
            "gemma2",
            named(
                "gemma2",
                json!({ "head_dim": 4, "sliding_window": 3, "query_pre_attn_scalar": 3,
            "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0 }),
            ),
        ),
        (
            "gemma3",
            named(
                "gemma3_text",
                json!({ "head_dim": 4, "sliding_window": 3, "layer_types": second,
            "final_logit_softcapping": 4.0, "rope_parameters": nested, "tie_word_embeddings": false }),
            ),
        ),
        (
            "granite",
            named(
                "granite",
                json!({ "embedding_multiplier": 2.0, "residual_multiplier": 0.5,
            "attention_multiplier": 0.7, "logits_scaling": 0.5 }),
            ),
        ),
        ("olmo2", named("olmo2", json!({ "attention_bias": true }))),
        ("olmo3", named("olmo3", json!({ "sliding_window": 3, "rope_parameters": nested }))),
        ("phi3", named("phi3", json!({ "sliding_window": 4, "head_dim": 4, "partial_rotary_factor": 0.5 }))),
        (
            "phi3 long",
            named(
                "phi3",
                json!({ "head_dim": 4, "original_max_position_embeddings": 15,
            "rope_parameters": { "rope_type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [1.0, 3.0] } }),
            ),
        ),
    ]
}

fn config(wanted: &str) -> CausalConfig {
    configs().into_iter().find(|(name, _)| *name == wanted).unwrap().1
}

/// Weights large enough that every part of the model affects the output.
fn tensors(config: &CausalConfig, seed: u64, dtype: DType) -> BTreeMap<String, Tensor> {
    let random = |(name, shape): (String, Vec<usize>)| {
        let (middle, std) = match (shape.len(), name.rsplit('.').next() == Some("bias")) {
            (1, false) => (1., 0.2),
            (1, true) => (0., 0.2),
            _ => (0., 0.4),
        };
        let draws = noise::normal(&mut Noise::new(seed).stream(&name, 0), shape, std, &Device::Cpu).unwrap();
        (name, (draws + middle).unwrap().to_dtype(dtype).unwrap())
    };
    config.expected_tensors().into_iter().map(random).collect()
}

fn frozen(config: CausalConfig, seed: u64, dtype: DType) -> CausalLm {
    let tensors = tensors(&config, seed, dtype);
    CausalLm::frozen(config, tensors).unwrap()
}

fn trainable(config: CausalConfig, dtype: DType, training: LearnerOptions) -> CausalLm {
    let tensors = tensors(&config, 1, dtype);
    CausalLm::trainable(config, tensors, training).unwrap()
}

fn training(lora: Option<LoraConfig>, recompute: Recompute) -> LearnerOptions {
    LearnerOptions { lora, seed: 5, recompute, ..LearnerOptions::new(Box::new(Sgd::new(0.).unwrap())) }
}

fn learner(config: CausalConfig) -> CausalLm {
    trainable(config, DType::F32, training(None, Recompute::Nothing))
}

fn episode(prompt: &[u32], response: &[u32]) -> EpisodeOf<TokenMdp> {
    Episode::whole(TokenState::new(prompt), response.to_vec())
}

/// Shared prompts, shared prefixes of responses, a repeated episode, a prompt that is a prefix of another.
fn episodes() -> Vec<EpisodeOf<TokenMdp>> {
    vec![
        episode(&[1, 2, 3, 4], &[5, 6, 7]),
        episode(&[1, 2, 3, 4], &[5, 6, 8, 9]),
        episode(&[3], &[3]),
        episode(&[1, 2, 3, 4], &[5, 6, 7]),
        episode(&[1, 2], &[20, 19, 18]),
        episode(&[9, 8, 7, 6, 5], &[4]),
        episode(&[2], &[]),
    ]
}

fn rng(seed: u64) -> Rng {
    Rng::seed_from_u64(seed)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    let difference = (a - b).unwrap().to_dtype(DType::F64).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar().unwrap()
}

#[test]
fn a_trainer_can_provide_the_divergence_from_a_language_model() {
    let config = config("gpt2");
    let reference = Arc::new(frozen(config.clone(), 2, DType::F32));
    let by_hand = frozen(config.clone(), 1, DType::F32).with_reference(Arc::clone(&reference)).unwrap();
    let mut model = frozen(config, 1, DType::F32);
    assert!(model.provide_divergence(None).unwrap_err().to_string().contains("a language model"));
    model.provide_divergence(Some(&*reference)).unwrap();
    assert_eq!(model.score(&MDP, &episodes()).unwrap(), by_hand.score(&MDP, &episodes()).unwrap());
    // Its own reference stays.
    model.provide_divergence(None).unwrap();
}

#[test]
fn packed_episodes_score_as_they_do_alone() {
    for (name, config) in configs() {
        let reference = frozen(config.clone(), 2, DType::F32);
        let model = frozen(config, 1, DType::F32);
        let model = model.with_diagnostics().with_reference(Arc::new(reference)).unwrap();
        let episodes = episodes();
        let together = model.score(&MDP, &episodes).unwrap();
        assert!(together.divergence.as_ref().unwrap().values().iter().all(|kl| *kl > 1e-4), "{name}");
        for (index, episode) in episodes.iter().enumerate() {
            let alone = model.score(&MDP, std::slice::from_ref(episode)).unwrap();
            let close = |together: &mdp::Steps, alone: &mdp::Steps| {
                let (together, alone) = (together.row(index), alone.row(0));
                together.len() == alone.len() && together.iter().zip(alone).all(|(a, b)| (a - b).abs() < 1e-5)
            };
            assert!(close(&together.log_probs, &alone.log_probs), "{name}: log-probabilities of {index}");
            assert!(close(together.divergence.as_ref().unwrap(), alone.divergence.as_ref().unwrap()), "{name}");
            assert!(close(together.entropy.as_ref().unwrap(), alone.entropy.as_ref().unwrap()), "{name}");
        }
    }
}

#[test]
fn the_order_of_a_batch_changes_no_bit() {
    for (name, config) in configs() {
        let model = frozen(config, 1, DType::F32);
        let mut episodes = episodes();
        let forwards = model.score(&MDP, &episodes).unwrap();
        episodes.reverse();
        let backwards = model.score(&MDP, &episodes).unwrap();
        let same = forwards.log_probs.rows().eq((0..episodes.len()).rev().map(|row| backwards.log_probs.row(row)));
        assert!(same, "{name}");
    }
}

#[test]
fn the_public_laws_hold() {
    for (_, config) in configs() {
        let mut model = learner(config);
        let starts = [TokenState::new([1u32, 2].as_slice()), TokenState::new([7u32].as_slice())];
        let made = laws::check_policy(&MDP, &model, &starts, 3, 1e-4).unwrap();
        assert!(made.iter().all(|episode| episode.n_decisions() > 0));
        laws::check_proposals(&MDP, &model, &starts, 5, 1e-4).unwrap();
        laws::check_learner(&MDP, &mut model, &episodes(), 4, 1e-4).unwrap();
    }
}

#[test]
fn nothing_to_score_is_no_error() {
    let model = learner(config("gpt2"));
    assert!(model.score(&MDP, &[]).unwrap().log_probs.is_empty());
    let numbers = model.score(&MDP, &[episode(&[1], &[])]).unwrap();
    assert_eq!((numbers.log_probs.len(), numbers.log_probs.values().len()), (1, 0));
}

#[test]
fn what_a_model_cannot_read_is_refused() {
    let model = learner(config("llama untied"));
    let check = |episode: EpisodeOf<TokenMdp>, expected: &str| {
        let error = model.score(&MDP, &[episode]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(episode(&[], &[1]), "no predictor");
    check(episode(&[1], &[23]), "below the model's vocabulary of 23");
    check(episode(&[1; 10], &[2; 8]), "16 positions");
    let config = config("llama untied");
    let mut broken = tensors(&config, 1, DType::F32);
    let name = config.final_norm_name() + ".weight";
    broken.insert(name.clone(), Tensor::new(&[f32::NAN; 8], &Device::Cpu).unwrap());
    let make = |tensors: &BTreeMap<String, Tensor>| CausalLm::frozen(config.clone(), tensors.clone());
    let error = make(&broken).unwrap().score(&MDP, &episodes()).unwrap_err().to_string();
    assert!(error.contains("episode 0, step 0"), "{error}");
    broken.remove(&name);
    let expected =
        "the tensors of the llama model: expected those of its configuration, got 1 missing tensor: model.norm.weight";
    assert_eq!(make(&broken).unwrap_err().to_string(), expected);
    broken.insert(name, Tensor::new(&[1f32; 7], &Device::Cpu).unwrap());
    let error = make(&broken).unwrap_err().to_string();
    assert!(error.ends_with("1 misshapen tensor: model.norm.weight (expected [8], found [7])"), "{error}");
}

#[test]
fn models_can_be_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<CausalLm>();
    check::<super::TokenTape>();
    check::<CausalConfig>();
    check::<super::GenerationConfig>();
}

/// The logits of a state by log Z and log-probabilities, and by the decoder itself: log Z is that of the whole vocabulary.
#[test]
fn a_log_partition_is_that_of_the_logits() {
    for (name, config) in configs() {
        let policy = frozen(config, 2, DType::F64);
        // More states than a batch has, of different lengths, some of which share a prefix.
        let said = |n: u32| (0..n % 9).map(|at| (at * 5 + n) % 21).collect::<Vec<u32>>();
        let states: Vec<TokenState> = (0..70)
            .map(|n| {
                let mut state = TokenState::new(Arc::from([n % 3 + 1, 4]));
                for token in said(n) {
                    state = mdp::Mdp::step(&MDP, &state, &token);
                }
                state
            })
            .collect();
        let found = policy.log_partitions(&MDP, &states).unwrap();
        assert_eq!(found.len(), states.len());
        let logits = policy.next_logits(&MDP, &states).unwrap();
        for ((state, log_z), logits) in states.iter().zip(&found).zip(&logits) {
            let direct = logits.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln();
            assert!((log_z - direct).abs() < 1e-5, "{name}: {log_z} {direct}");
            // A token's log-probability is its logit less log Z.
            let episodes: Vec<_> = [3, 17].map(|token| Episode::whole(state.clone(), vec![token])).into();
            let log_probs = policy.score(&MDP, &episodes).unwrap().log_probs;
            for (token, log_prob) in [3, 17].into_iter().zip(log_probs.values()) {
                let by_logit = f64::from(logits[token]) - log_z;
                assert!((by_logit - log_prob).abs() < 1e-4, "{name}: {by_logit} {log_prob}");
            }
        }
        // Alone as among others, and nothing of nothing.
        assert!((policy.log_partitions(&MDP, &states[40..41]).unwrap()[0] - found[40]).abs() < 1e-4);
        assert!(policy.log_partitions(&MDP, &[]).unwrap().is_empty());
    }
}

#[test]
fn a_log_partition_that_is_no_number_is_refused() {
    let config = config("llama untied");
    let mut tensors = tensors(&config, 1, DType::F32);
    let head = tensors.keys().find(|name| name.contains("lm_head") || name.contains("embed_out")).unwrap().clone();
    let broken = (tensors[&head].clone() * f64::NAN).unwrap();
    tensors.insert(head, broken);
    let policy = CausalLm::frozen(config, tensors).unwrap();
    let said = policy.log_partitions(&MDP, &[TokenState::new(Arc::from([1, 4]))]).unwrap_err().to_string();
    assert!(said.contains("a log-partition"), "{said}");
}
