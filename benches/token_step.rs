//! One DPO step on TL;DR's shape: a random 70M GPT-NeoX, four pairs with prompts of 250 to 450 tokens and answers of 25
//! to 55, f32. `benches/peers/trl_dpo.py` measures TRL on the same shape.
use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hybrid_dpo::engine::{Noise, optim::RmsProp};
use hybrid_dpo::mdp::chance;
use hybrid_dpo::mdp::token::{TokenMdp, TokenState};
use hybrid_dpo::mdp::{Episode, EpisodeOf, weights};
use hybrid_dpo::models::causal::{CausalConfig, CausalLm, LearnerOptions};
use hybrid_dpo::objectives::{Comparison, Logistic, Objective, Pairwise, Scores};
use hybrid_dpo::policies::{Learner, Policy};

/// As in the program: much of a step in candle is memory given back and asked for again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn model() -> (CausalConfig, BTreeMap<String, Tensor>) {
    let config = serde_json::json!({
        "model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 512, "num_hidden_layers": 6,
        "num_attention_heads": 8, "intermediate_size": 2048, "max_position_embeddings": 2048, "rotary_pct": 0.25,
        "eos_token_id": 0, "tie_word_embeddings": false
    });
    let config = CausalConfig::from_json(config).expect("a complete configuration");
    let tensors = config.initial_tensors(&Noise::new(0), &Device::Cpu).expect("memory for 70M numbers");
    (config, tensors)
}

fn episodes() -> Vec<EpisodeOf<TokenMdp>> {
    let mut rng = Noise::new(1).stream("bench", 0);
    let mut between = |low: u64, high: u64| low + chance::below(&mut rng, high - low + 1);
    let mut episodes = Vec::new();
    for _ in 0..4 {
        let length = between(250, 450);
        let prompt: Arc<[u32]> = (0..length).map(|_| between(1, 50_303) as u32).collect();
        for _ in 0..2 {
            let length = between(25, 55);
            let answer = (0..length).map(|_| between(1, 50_303) as u32).collect();
            episodes.push(Episode::whole(TokenState::new(Arc::clone(&prompt)), answer));
        }
    }
    episodes
}

fn step(criterion: &mut Criterion) {
    let mdp = TokenMdp { vocabulary: 50_304, eos: vec![0], max_length: 2048 };
    let (config, tensors) = model();
    let reference = CausalLm::frozen(config.clone(), tensors.clone()).expect("a checked model");
    let optimizer = Box::new(RmsProp::new(0.99, 1e-8).expect("torch's defaults"));
    let mut learner = CausalLm::trainable(config, tensors, LearnerOptions::new(optimizer)).expect("a checked model");
    let objective = Pairwise::new(Logistic::new(0.1).expect("a positive beta"));
    let pairs: Vec<Comparison> = (0..4).map(|i| Comparison::new(2 * i, 2 * i + 1)).collect();
    let mut group = criterion.benchmark_group("token_step/neox-70m/4-pairs");
    group.sample_size(10).throughput(Throughput::Elements(4));
    group.bench_function("dpo", |bencher| {
        bencher.iter_batched(
            episodes,
            |episodes| {
                let (policy, tape) = learner.forward(&mdp, &episodes).expect("finite numbers");
                let reference = reference.score(&mdp, &episodes).expect("finite numbers").log_probs;
                let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights(&episodes) };
                let evaluation = objective.evaluate(&pairs, scores).expect("finite numbers");
                learner.backward(tape, &evaluation.slopes).expect("finite slopes");
                learner.update(1e-6, Some(10.0)).expect("a finite gradient")
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
