//! Language models against transformers and torch (`tests/golden/causal.py` made the numbers).
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use engine::optim::RmsProp;
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, EpisodeOf, weights};
use models::causal::{GenerationConfig, LearnerOptions, Recompute};
use models::formats::{self, ModelFiles};
use objectives::{Comparison, Logistic, Objective, Pairwise, Scores};
use policies::{Learner, Policy};
use rand::SeedableRng;
use serde_json::Value;

const MDP: TokenMdp = TokenMdp { vocabulary: 96, eos: Vec::new(), max_length: 64 };

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/causal").join(case)
}

fn files(case: &str) -> ModelFiles {
    formats::load(&folder(case), &Device::Cpu).unwrap()
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

fn episode(prompt: &Value, response: &Value) -> EpisodeOf<TokenMdp> {
    Episode::whole(TokenState::new(tokens(prompt)), tokens(response))
}

/// Log-probabilities of packed episodes, and the greedy continuations, are transformers'.
fn check(case: &str) {
    let expected = expected(case);
    let model = files(case).frozen().unwrap();
    let golden = expected["episodes"].as_array().unwrap();
    let episodes: Vec<_> = golden.iter().map(|golden| episode(&golden["prompt"], &golden["response"])).collect();
    let scores = model.score(&MDP, &episodes).unwrap().log_probs;
    assert!(!golden.is_empty() && scores.rows().count() == golden.len(), "{case}");
    for (row, golden) in scores.rows().zip(golden) {
        let log_probs = numbers(&golden["log_probs"]);
        assert_eq!(row.len(), log_probs.len());
        let error = row.iter().zip(log_probs).map(|(a, b)| (a - b).abs()).fold(0., f64::max);
        assert!(error < 2e-5, "{case}: off by {error}");
    }
    let greedy = expected["greedy"].as_array().unwrap();
    let prompts: Vec<Vec<u32>> = greedy.iter().map(|golden| tokens(&golden["prompt"])).collect();
    let responses: Vec<Vec<u32>> = greedy.iter().map(|golden| tokens(&golden["response"])).collect();
    let mut rngs = vec![mdp::Rng::seed_from_u64(0); prompts.len()];
    let sampling = GenerationConfig { max_new: 20, ..GenerationConfig::greedy() };
    assert_eq!(model.generate(&prompts, &sampling, &mut rngs).unwrap(), responses, "{case}");
}

#[test]
fn log_probabilities_and_greedy_text_are_those_of_transformers() {
    for case in [
        "neox_parallel",
        "neox_serial",
        "gpt2",
        "gpt2_untied",
        "llama_tied",
        "llama_untied",
        "llama3_rope",
        "linear_rope",
        "qwen2",
    ] {
        check(case);
    }
}

#[test]
fn folders_whose_files_say_something_easily_read_past_have_the_numbers_of_transformers() {
    // 3 of 8 coordinates turn; `rope_scaling` beside `rope_parameters`, which had the base; a head of its own in a tied
    // model, with settings of other families; a tied matrix stored as the head; two numbers of heads; windows that no
    // layer has.
    let cases = ["odd_rotary_width", "two_rotary_keys", "own_head", "head_only", "two_names", "windows_without_layers"];
    for case in cases {
        check(case);
    }
}

/// Ten steps of DPO on a model that `files` reads are those of torch.
pub(crate) fn check_dpo_steps(case: &str, files: &dyn Fn() -> ModelFiles, dpo: &Value, recompute: Recompute) {
    let setting = |name: &str| dpo[name].as_f64().unwrap();
    let training = LearnerOptions { recompute, ..LearnerOptions::new(Box::new(RmsProp::default())) };
    let reference = files().frozen().unwrap();
    let mut model = files().trainable(training).unwrap();
    let pairs = dpo["pairs"].as_array().unwrap();
    let sides = |pair: &Value| ["chosen", "rejected"].map(|side| episode(&pair["prompt"], &pair[side]));
    let episodes: Vec<_> = pairs.iter().flat_map(sides).collect();
    let feedback: Vec<Comparison> = (0..pairs.len()).map(|i| Comparison::new(2 * i, 2 * i + 1)).collect();
    let objective = Pairwise::new(Logistic::new(setting("beta")).unwrap());
    let reference = reference.score(&MDP, &episodes).unwrap().log_probs;
    let weights = weights(&episodes);
    let [losses, margins, norms] = ["losses", "margins", "gradient_norms"].map(|name| numbers(&dpo[name]));
    for (step, loss) in losses.into_iter().enumerate() {
        let (policy, tape) = model.forward(&MDP, &episodes).unwrap();
        let scores = Scores { policy: &policy, reference: Some(&reference), weights: &weights };
        let evaluation = objective.evaluate(&feedback, scores).unwrap();
        model.backward(tape, &evaluation.slopes).unwrap();
        let norm = model.update(setting("rate"), Some(setting("max_norm"))).unwrap();
        let margin = evaluation.metrics["rewards/margins"];
        for (what, got, expected) in
            [("loss", evaluation.loss, loss), ("margin", margin, margins[step]), ("norm", norm, norms[step])]
        {
            assert!((got - expected).abs() < 1e-3, "{case}: {what} of step {step} is {got}, torch's is {expected}");
        }
    }
}

#[test]
fn ten_steps_of_dpo_are_those_of_torch() {
    for case in ["neox_parallel", "llama_tied"] {
        for recompute in [Recompute::Nothing, Recompute::Blocks] {
            check_dpo_steps(case, &|| files(case), &expected(case)["dpo"], recompute);
        }
    }
}

#[test]
fn the_divergence_is_zero_from_oneself() {
    let reference = Arc::new(files("qwen2").frozen().unwrap());
    let model = files("qwen2").frozen().unwrap().with_reference(reference).unwrap();
    let episodes = [Episode::whole(TokenState::new([5u32, 6].as_slice()), vec![7, 8, 9])];
    let divergence = model.score(&MDP, &episodes).unwrap().divergence.unwrap();
    assert!(divergence.values().iter().all(|kl| kl.abs() < 1e-6), "{divergence:?}");
}
