//! Transformers against diffusers and torch (`tests/golden/dit.py` made the numbers), and alone.

mod files;
mod policy;
mod settings;

use crate::denoiser::DenoiserConfig;
use crate::denoiser::testing::{self, Golden};

const GOLDEN: Golden = Golden { family: "dit", cases: &["pixart", "sizes", "dit", "pixels"], is_idle };

/// Softmax is invariant to a bias of keys.
fn is_idle(_: &DenoiserConfig, name: &str) -> bool {
    name.ends_with("to_k.bias")
}

#[test]
fn outputs_and_gradients_are_those_of_diffusers() {
    testing::check_golden(&GOLDEN);
}

#[test]
fn a_tape_is_the_graph_in_pieces() {
    testing::check_tape(&GOLDEN);
}

#[test]
fn images_do_not_see_each_other() {
    testing::check_alone(&GOLDEN);
}

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["attn1.to_q", "attn2.to_v", "ff.net.2", "adaln_single.linear", "linear_1", "proj"];
    testing::check_adapters(&GOLDEN, "pixart", &targets);
    testing::check_adapters(&GOLDEN, "dit", &["to_k", "norm1.linear", "proj_out_1", "linear_2", "proj"]);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for case in GOLDEN.cases {
        testing::check_finite_differences(&GOLDEN, case, 3);
    }
}

#[test]
fn fresh_tensors_predict_nothing_and_learn() {
    let last = |case: &str| if case == "dit" || case == "pixels" { "proj_out_2.weight" } else { "proj_out.weight" };
    testing::check_fresh(&GOLDEN, last);
}
