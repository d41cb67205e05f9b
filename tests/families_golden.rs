//! Families of language models against transformers (`tests/golden/families.py` made the numbers).
use std::path::{Path, PathBuf};

use candle_core::Device;
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf};
use models::causal::{GenerationConfig, Recompute, RewardModel};
use models::formats::{self, SaveOptions, save_huggingface};
use policies::Policy;
use rand::SeedableRng;
use serde_json::Value;

use crate::causal_golden::check_dpo_steps;

const MDP: TokenMdp = TokenMdp { vocabulary: 96, eos: Vec::new(), max_length: 64 };

/// One case or more of every family.
const CASES: [&str; 16] = [
    "qwen2_window",
    "qwen3",
    "qwen3_window",
    "mistral",
    "ministral",
    "smollm3",
    "gemma",
    "gemma2",
    "gemma3",
    "granite",
    "olmo2",
    "olmo3",
    "phi3",
    "phi3_long",
    "llama_yarn",
    "llama_dynamic",
];

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(case)
}

fn expected(case: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder(case).join("expected.json")).unwrap()).unwrap()
}

fn tokens(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Log-probabilities of packed episodes, and the greedy continuations, are transformers'.
fn check(case: &str, folder: &Path) {
    let expected = expected(case);
    let model = formats::load(folder, &Device::Cpu).unwrap().frozen().unwrap();
    let golden = expected["episodes"].as_array().unwrap();
    let episode = |golden: &Value| -> EpisodeOf<TokenMdp> {
        Episode::whole(TokenState::new(tokens(&golden["prompt"])), tokens(&golden["response"]))
    };
    let scores = model.score(&MDP, &golden.iter().map(episode).collect::<Vec<_>>()).unwrap().log_probs;
    assert!(!golden.is_empty() && scores.rows().count() == golden.len(), "{case}");
    for (row, golden) in scores.rows().zip(golden) {
        let log_probs = numbers(&golden["log_probs"]);
        assert_eq!(row.len(), log_probs.len());
        let error = row.iter().zip(log_probs).map(|(a, b)| (a - b).abs()).fold(0., f64::max);
        assert!(error < 5e-5, "{case}: off by {error}");
    }
    let greedy = expected["greedy"].as_array().unwrap();
    let of = |key: &str| greedy.iter().map(|golden| tokens(&golden[key])).collect::<Vec<_>>();
    let mut rngs = vec![mdp::Rng::seed_from_u64(0); greedy.len()];
    let sampling = GenerationConfig { max_new: 20, ..GenerationConfig::greedy() };
    assert_eq!(model.generate(&of("prompt"), &sampling, &mut rngs).unwrap(), of("response"), "{case}");
}

#[test]
fn log_probabilities_and_greedy_text_of_every_family_are_those_of_transformers() {
    for case in CASES {
        check(case, &folder(case));
    }
}

#[test]
fn ten_steps_of_dpo_are_those_of_torch() {
    for case in ["gemma2", "olmo3", "phi3", "granite"] {
        let files = || formats::load(&folder(case), &Device::Cpu).unwrap();
        check_dpo_steps(case, &files, &expected(case)["dpo"], Recompute::Nothing);
    }
}

#[test]
fn what_is_written_is_what_was_read() {
    let written = tempfile::tempdir().unwrap();
    for case in CASES {
        let files = formats::load(&folder(case), &Device::Cpu).unwrap();
        let target = written.path().join(case);
        save_huggingface(&target, &files.config, &files.tensors, &files.extras, SaveOptions::default()).unwrap();
        check(case, &target);
    }
}

#[test]
fn rewards_are_those_of_transformers() {
    for case in ["gemma2_reward", "qwen3_reward", "phi3_reward"] {
        let expected = expected(case);
        let files = formats::load_reward(&folder(case), &Device::Cpu).unwrap();
        let model = RewardModel::new(files.config, files.tensors).unwrap();
        let texts: Vec<Vec<u32>> = expected["texts"].as_array().unwrap().iter().map(tokens).collect();
        let rewards = model.score(&texts).unwrap();
        for (found, expected) in rewards.iter().zip(numbers(&expected["rewards"])) {
            assert!((found - expected).abs() < 5e-5, "{case}: {found}, expected {expected}");
        }
    }
}
