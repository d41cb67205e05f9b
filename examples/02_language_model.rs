//! Trains a language model on preferences in your own program.
//!
//! The model is a Hugging Face folder (by default the small one that this repository trains itself), the data are
//! in-memory pairs of summaries. Held-out pairs measure the result.
//!
//! Run it with `cargo run --release --example 02_language_model -- [FOLDER]`; it takes about ten seconds.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]
#![expect(clippy::disallowed_methods, reason = "an example reads its arguments")]

use std::path::PathBuf;

use candle_core::Device;
use hybrid_dpo::datasets::synthetic::tldr::{Split, TldrProblem};
use hybrid_dpo::datasets::{Dataset, OnBad, TokenSettings, Tokenise};
use hybrid_dpo::engine::optim::RmsProp;
use hybrid_dpo::mdp::token::TokenMdp;
use hybrid_dpo::models::causal::LearnerOptions;
use hybrid_dpo::models::formats;
use hybrid_dpo::objectives::{Comparison, Logistic, Pairwise};
use hybrid_dpo::policies::BoxError;
use hybrid_dpo::train::token::TokenSource;
use hybrid_dpo::train::{Settings, Training};

fn main() -> Result<(), BoxError> {
    let embedded = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/embedded/tldr");
    let folder = std::env::args().nth(1).map_or_else(|| PathBuf::from(embedded), PathBuf::from);
    let files = formats::load(&folder, &Device::Cpu)?;

    // Text to tokens, and pairs of answers to episodes of the token MDP.
    let (eos, max_length) = (files.eos().to_vec(), 256);
    let settings = TokenSettings { max_length, max_prompt_length: Some(192), ..TokenSettings::new(eos[0]) };
    let tokenise = Tokenise::new(files.tokenizer()?.tokenizer(), None, settings)?;
    let part =
        |split, n| Dataset::from_records("posts", TldrProblem::new(0).pair_records(split, n), &tokenise, OnBad::Fail);
    let (pairs, held_out) = (part(Split::Train, 1024)?, part(Split::Validation, 128)?);
    let mdp = TokenMdp { vocabulary: files.config.vocabulary as u32, eos, max_length };
    let data = TokenSource::<Comparison>::new(&pairs, max_length);
    let held_out = TokenSource::<Comparison>::new(&held_out, max_length);

    // DPO against the model as it is.
    let (objective, reference) = (Pairwise::new(Logistic::new(0.3)?), files.clone().frozen()?);
    let mut policy = files.trainable(LearnerOptions::new(Box::new(RmsProp::new(0.99, 1e-8)?)))?;
    let settings =
        Settings { batch_size: 32, micro_batch_size: 16, rate: 3e-5, warmup_steps: 5, ..Settings::default() };
    let training = Training::new(&mdp, &data, &objective).reference(&reference).settings(settings);
    for (step, learned) in training.steps(&mut policy)?.enumerate() {
        println!("step {step:>2}: loss {:.4}", learned?.loss);
    }
    let shown = training.evaluate(&policy, &held_out)?;
    println!(
        "{} held-out pairs, accuracy {:.3}",
        shown.examples,
        shown.metric("rewards/accuracies").unwrap_or_default()
    );
    Ok(())
}
