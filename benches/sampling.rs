//! Answers drawn from a language model, and beams: 8 prompts of 200 tokens, 64 answers or beams of width 5.
//!
//! `benches/peers/sampling.py` measures transformers on the same files. Time is from the prompts to the last token, without
//! loading; memory is the peak of the process.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that is told what to measure, and says it"
)]

use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use hybrid_dpo::engine::Noise;
use hybrid_dpo::mdp::chance;
use hybrid_dpo::mdp::token::{TokenMdp, TokenState};
use hybrid_dpo::models::causal::{CausalConfig, CausalLm, GenerationConfig};
use hybrid_dpo::models::formats::load;
use hybrid_dpo::policies::Policy as _;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VOCABULARY: u32 = 50_304;
const PROMPTS: usize = 8;
const PROMPT_TOKENS: usize = 200;

/// The model of a folder, or a random one of the same shape.
fn model(folder: Option<&String>) -> CausalLm {
    if let Some(folder) = folder {
        let files = load(Path::new(folder), &Device::Cpu).expect("a model's folder");
        return files.frozen().expect("a checked model");
    }
    let config = serde_json::json!({
        "model_type": "gpt_neox", "vocab_size": VOCABULARY, "hidden_size": 512, "num_hidden_layers": 6,
        "num_attention_heads": 8, "intermediate_size": 2048, "max_position_embeddings": 2048, "rotary_pct": 0.25,
        "eos_token_id": 0, "tie_word_embeddings": false
    });
    let config = CausalConfig::from_json(config).expect("a complete configuration");
    let tensors = config.initial_tensors(&Noise::new(0), &Device::Cpu).expect("memory for 70M numbers");
    CausalLm::frozen(config, tensors).expect("the tensors of the configuration")
}

fn prompts() -> Vec<Vec<u32>> {
    let mut rng = Noise::new(1).stream("bench", 0);
    let mut token = || 1 + chance::below(&mut rng, u64::from(VOCABULARY) - 1) as u32;
    (0..PROMPTS).map(|_| (0..PROMPT_TOKENS).map(|_| token()).collect()).collect()
}

/// So many answers to each prompt.
fn sample(model: &CausalLm, n_answers: usize, n_tokens: usize) {
    let prompts: Vec<Vec<u32>> = prompts().into_iter().flat_map(|prompt| vec![prompt; n_answers]).collect();
    let mut rngs: Vec<_> = (0..prompts.len()).map(|i| Noise::new(2).stream("sample", i as u64)).collect();
    let sampling = GenerationConfig { max_new: n_tokens, ..GenerationConfig::default() };
    let answers = model.generate(&prompts, &sampling, &mut rngs).expect("finite logits");
    assert!(answers.iter().all(|answer| answer.len() == n_tokens), "an answer that ended early");
}

/// The best `width` continuations of each prompt, step by step.
fn beams(model: &CausalLm, width: usize, n_tokens: usize) {
    let mdp = TokenMdp { vocabulary: VOCABULARY, eos: Vec::new(), max_length: 2048 };
    let starts: Vec<TokenState> = prompts().into_iter().map(TokenState::new).collect();
    let mut cursor = model.cursor(&mdp, &starts).expect("prompts that the model reads");
    let mut scores = vec![vec![0.]; starts.len()];
    for _ in 0..n_tokens {
        let mut rngs = vec![Noise::new(0).stream("beams", 0); cursor.states().len()];
        let proposals = cursor.expand(2 * width, &mut rngs.iter_mut().collect::<Vec<_>>()).expect("finite logits");
        let (mut rows, mut tokens, mut first) = (Vec::new(), Vec::new(), 0);
        for scores in &mut scores {
            let of_row = |(row, score): (usize, &f64)| {
                let score = *score;
                proposals[row].iter().map(move |proposal| (score + proposal.log_prob, row, proposal.action))
            };
            let mut best: Vec<(f64, usize, u32)> = (first..).zip(scores.iter()).flat_map(of_row).collect();
            best.sort_by(|a, b| b.0.total_cmp(&a.0));
            best.truncate(width);
            first += scores.len();
            *scores = best.iter().map(|beam| beam.0).collect();
            rows.extend(best.iter().map(|beam| beam.1));
            tokens.extend(best.iter().map(|beam| beam.2));
        }
        cursor.select(&rows);
        cursor.advance(&tokens).expect("tokens of the model");
    }
}

/// A number of this process's status in kB, as megabytes.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let n_tokens = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(128);
    let kind = arguments.first().map_or("sample", String::as_str);
    let model = model(arguments.get(1));
    let start = Instant::now();
    let n = if kind == "beams" {
        beams(&model, 5, n_tokens);
        PROMPTS * n_tokens
    } else {
        sample(&model, 8, n_tokens);
        8 * PROMPTS * n_tokens
    };
    let result = serde_json::json!({
        "system": "hybrid-dpo", "kind": kind, "tokens_per_second": n as f64 / start.elapsed().as_secs_f64(),
        "peak_mb": peak_mb(),
    });
    println!("{result}");
}
