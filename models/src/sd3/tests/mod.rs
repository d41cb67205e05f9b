//! Transformers against diffusers and torch (`tests/golden/sd3.py` made the numbers), and alone.

mod settings;

use mdp::diffusion::NoiseSchedule;

use super::Sd3Config;
use super::config::POSITIONS;
use super::positions::position_table;
use crate::denoiser::DenoiserConfig;
use crate::tests::{self, Acting, Golden};

const GOLDEN: Golden = Golden { family: "sd3", cases: &["sd3", "sd35", "pixels"], is_idle };

fn own(config: &DenoiserConfig) -> &Sd3Config {
    let DenoiserConfig::Sd3(config) = config else { panic!("a {}", config.class()) };
    config
}

/// Whether a parameter has no effect beyond rounding: softmax is invariant to a bias of keys, and the last block's caption
/// ends in its attention.
fn is_idle(config: &DenoiserConfig, name: &str) -> bool {
    let config = own(config);
    let last = format!("transformer_blocks.{}.attn.", config.n_layers - 1);
    let of_last =
        name.strip_prefix(&last).is_some_and(|part| part.starts_with("add_q_proj") || part.starts_with("norm_added_q"));
    let of_keys = !config.has_norms && (name.ends_with("to_k.bias") || name.ends_with("add_k_proj.bias"));
    of_last || of_keys
}

tests::every_case!(GOLDEN);

#[test]
fn positions_are_those_of_diffusers() {
    for case in GOLDEN.cases {
        let (config, tensors) = GOLDEN.files(case);
        let config = own(&config);
        let span = config.sample_size.unwrap() / config.patch;
        let table = position_table(config.positions, config.width(), span);
        let theirs = tensors[POSITIONS].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(table.len(), theirs.len());
        let worst = table.iter().zip(&theirs).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 1e-5, "{case}: off by {worst}");
    }
}

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["attn.to_q", "attn.add_v_proj", "ff_context.net.2", "norm1.linear", "pos_embed.proj"];
    tests::check_adapters(&GOLDEN, "sd35", &targets);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    tests::check_finite_differences(&GOLDEN, "sd35", 5);
}

#[test]
fn fresh_tensors_predict_nothing_and_learn() {
    tests::check_fresh(&GOLDEN, |_| "proj_out.weight");
}

#[test]
fn transformers_obey_the_laws() {
    let schedule = NoiseSchedule::flow_levels(1000, 3.0, 4).unwrap();
    tests::check_policy(&GOLDEN, "sd35", &Acting::flow(schedule, 4));
}

#[test]
fn what_is_written_is_read_again() {
    tests::check_saved(&GOLDEN);
    // Of each block eight layers, less the last one's projection of its caption.
    tests::check_saved_adapters(&GOLDEN, "sd35", 2 * (3 * 8 - 1));
}

#[test]
fn an_adapter_of_diffusers_does_what_it_does_there() {
    tests::check_adapter_file(&GOLDEN, "sd35", &GOLDEN.folder("sd35"), "pos_embed.proj");
}
