//! Transformers against diffusers and torch (`tests/golden/zimage.py` made the numbers), and alone.

mod pipeline;
mod settings;

use mdp::diffusion::NoiseSchedule;

use crate::tests::{self, Acting, Golden};

const GOLDEN: Golden = Golden { family: "zimage", cases: &["zimage", "plain"], is_idle: |_, _| false };

tests::every_case!(GOLDEN);

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["to_q", "feed_forward.w3", "adaLN_modulation.0", "all_x_embedder.2-1", "t_embedder.mlp.2"];
    tests::check_adapters(&GOLDEN, "zimage", &targets);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    tests::check_finite_differences(&GOLDEN, "zimage", 5);
}

#[test]
fn fresh_tensors_predict_something_and_learn() {
    for case in GOLDEN.cases {
        let (prediction, gradients) = tests::fresh(&GOLDEN, case);
        assert!(prediction.iter().all(|value| value.is_finite() && *value != 0.), "{case}");
        assert!(gradients.values().all(|gradient| gradient.iter().any(|g| *g != 0.)), "{case}");
    }
}

#[test]
fn transformers_obey_the_laws() {
    let schedule = NoiseSchedule::flow_levels(1000, 3.0, 4).unwrap();
    tests::check_policy(&GOLDEN, "zimage", &Acting::flow(schedule, 4));
}

#[test]
fn what_is_written_is_read_again() {
    tests::check_saved(&GOLDEN);
    // Four layers of each of four blocks.
    tests::check_saved_adapters(&GOLDEN, "zimage", 2 * 4 * 4);
}

#[test]
fn an_adapter_of_diffusers_does_what_it_does_there() {
    tests::check_adapter_file(&GOLDEN, "zimage", &GOLDEN.folder("zimage"), "all_x_embedder.2-1");
}
