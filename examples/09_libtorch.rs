//! A module of LibTorch, written in Rust, is a policy: two layers learn which of two answers is better.
//!
//! Run it with `cargo run --release --features torch --example 09_libtorch`, where `LIBTORCH` and `LD_LIBRARY_PATH` name
//! LibTorch: docs/torch.md.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use hybrid_dpo::engine::optim::AdamW;
use hybrid_dpo::mdp::token::{TokenMdp, TokenState};
use hybrid_dpo::mdp::{Episode, weights};
use hybrid_dpo::models::causal::LearnerOptions;
use hybrid_dpo::objectives::{Comparison, Logistic, Objective, Pairwise, Scores};
use hybrid_dpo::policies::{Learner, Policy};
use hybrid_dpo::torch::tch::nn::{self, Module as _};
use hybrid_dpo::torch::tch::{self, Tensor};
use hybrid_dpo::torch::{TokenSettings, TorchPolicy};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    tch::manual_seed(1);
    let settings =
        TokenSettings { vocabulary: 7, max_length: 8, eos: vec![0], bos: None, tokenizer: None, chat_template: None };
    // Ids `[batch, length]` to logits `[batch, length, vocabulary]`.
    let files = TorchPolicy::tokens("two layers", settings, |variables: &nn::Path<'_>| {
        let embedding = nn::embedding(variables / "embedding", 7, 16, nn::EmbeddingConfig::default());
        let head = nn::linear(variables / "head", 16, 7, nn::LinearConfig::default());
        move |inputs: &[Tensor]| head.forward(&embedding.forward(&inputs[0]).tanh())
    })?;
    let reference = files.clone().frozen()?;
    let mut policy = files.trainable(LearnerOptions::new(Box::new(AdamW::new((0.9, 0.999), 1e-8, 0.0)?)))?;

    let mdp = TokenMdp { vocabulary: 7, eos: vec![0], max_length: 8 };
    let answer = |tokens: &[u32]| Episode::whole(TokenState::new([5u32, 6].as_slice()), tokens.to_vec());
    let episodes = [answer(&[3, 4, 0]), answer(&[4, 3, 0])];
    let feedback = [Comparison::new(0, 1)];
    let objective = Pairwise::new(Logistic::new(0.5)?);
    let reference_scores = reference.score(&mdp, &episodes)?.log_probs;
    let weights = weights(&episodes);
    let mut last = f64::INFINITY;
    for step in 0..=40 {
        let (numbers, tape) = policy.forward(&mdp, &episodes)?;
        let scores = Scores { policy: &numbers, reference: Some(&reference_scores), weights: &weights };
        let loss = objective.evaluate(&feedback, scores)?;
        policy.backward(tape, &loss.slopes)?;
        policy.update(1e-2, None)?;
        last = loss.loss;
        if step % 10 == 0 {
            println!("step {step}: loss {last:.4}");
        }
    }
    println!("loss {last:.4}");
    Ok(())
}
