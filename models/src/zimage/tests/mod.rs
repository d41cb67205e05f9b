//! Transformers against diffusers and torch (`tests/golden/zimage.py` made the numbers), and alone.

mod pipeline;
mod settings;

use std::sync::Arc;

use mdp::diffusion::{DenoisingMdp, LatentShape, NoiseSchedule, Prediction};

use crate::sampler::Sampler;
use crate::tests::{self, Acting, Golden};

const GOLDEN: Golden = Golden { family: "zimage", cases: &["zimage", "plain"], is_idle: |_, _| false };

#[test]
fn outputs_and_gradients_are_those_of_diffusers() {
    tests::check_golden(&GOLDEN);
}

#[test]
fn a_tape_is_the_graph_in_pieces() {
    tests::check_tape(&GOLDEN);
}

#[test]
fn images_do_not_see_each_other() {
    tests::check_alone(&GOLDEN);
}

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
    let schedule = Arc::new(NoiseSchedule::flow_levels(1000, 3.0, 4).unwrap());
    let shape = LatentShape { height: 4, width: 6, channels: 4 };
    let mdp = DenoisingMdp::full(schedule, shape.size());
    let acting = Acting { mdp, shape, prediction: Prediction::Flow, sampler: Sampler::FlowSde { noise: 0.7 } };
    tests::check_policy(&GOLDEN, "zimage", &acting);
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
