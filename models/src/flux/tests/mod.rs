//! Transformers against diffusers and torch (`tests/golden/flux.py` made the numbers), and alone.

mod settings;

use mdp::diffusion::NoiseSchedule;

use crate::tests::{self, Acting, Golden};

const GOLDEN: Golden = Golden { family: "flux", cases: &["schnell", "dev"], is_idle: |_, _| false };

tests::every_case!(GOLDEN);

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["attn.to_q", "attn.add_v_proj", "ff_context.net.2", "norm1.linear", "proj_mlp", "x_embedder"];
    tests::check_adapters(&GOLDEN, "dev", &targets);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    tests::check_finite_differences(&GOLDEN, "dev", 5);
}

#[test]
fn fresh_tensors_predict_nothing_and_learn() {
    tests::check_fresh(&GOLDEN, |_| "proj_out.weight");
}

#[test]
fn transformers_obey_the_laws() {
    let schedule = NoiseSchedule::flow_levels_even(1000, 3.0, 4).unwrap();
    tests::check_policy(&GOLDEN, "dev", &Acting::flow(schedule, 16));
}

#[test]
fn what_is_written_is_read_again() {
    tests::check_saved(&GOLDEN);
    // Twelve layers of a block of two streams, three of each block of one.
    tests::check_saved_adapters(&GOLDEN, "dev", 2 * (12 + 3 * 3));
}

#[test]
fn an_adapter_of_diffusers_does_what_it_does_there() {
    let layer = "single_transformer_blocks.2.proj_out";
    tests::check_adapter_file(&GOLDEN, "dev", &GOLDEN.folder("dev"), layer);
}
