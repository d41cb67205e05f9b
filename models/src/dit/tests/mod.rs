//! Transformers against diffusers and torch (`tests/golden/dit.py` made the numbers), and alone.

mod settings;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use mdp::diffusion::{DenoisingMdp, LatentShape, NoiseSchedule, Prediction};

use crate::denoiser::DenoiserConfig;
use crate::formats::{SaveOptions, load_denoiser, save_denoiser};
use crate::sampler::Sampler;
use crate::tests::{self, Acting, Golden};

const GOLDEN: Golden = Golden { family: "dit", cases: &["pixart", "sizes", "dit", "pixels"], is_idle };

/// Softmax is invariant to a bias of keys.
fn is_idle(_: &DenoiserConfig, name: &str) -> bool {
    name.ends_with("to_k.bias")
}

tests::every_case!(GOLDEN);

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["attn1.to_q", "attn2.to_v", "ff.net.2", "adaln_single.linear", "linear_1", "proj"];
    tests::check_adapters(&GOLDEN, "pixart", &targets);
    tests::check_adapters(&GOLDEN, "dit", &["to_k", "norm1.linear", "proj_out_1", "linear_2", "proj"]);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for case in GOLDEN.cases {
        tests::check_finite_differences(&GOLDEN, case, 3);
    }
}

#[test]
fn fresh_tensors_predict_nothing_and_learn() {
    let last = |case: &str| if case == "dit" || case == "pixels" { "proj_out_2.weight" } else { "proj_out.weight" };
    tests::check_fresh(&GOLDEN, last);
}

#[test]
fn transformers_obey_the_laws() {
    let schedule = Arc::new(NoiseSchedule::linear(1000, 1e-4, 0.02).unwrap());
    let shape = LatentShape { height: 4, width: 4, channels: 4 };
    let mdp = DenoisingMdp::new(schedule, vec![900, 500, 100, 20], shape.size());
    let acting = Acting { mdp, shape, prediction: Prediction::Epsilon, sampler: Sampler::Ddim { eta: 1. } };
    for case in ["pixart", "sizes", "dit"] {
        tests::check_policy(&GOLDEN, case, &acting);
    }
}

#[test]
fn what_is_written_is_read_again() {
    tests::check_saved(&GOLDEN);
    // Of each block two attentions of four layers, or one.
    tests::check_saved_adapters(&GOLDEN, "pixart", 2 * 2 * 8);
    tests::check_saved_adapters(&GOLDEN, "dit", 2 * 2 * 4);
}

#[test]
fn an_adapter_of_peft_does_what_it_does_there() {
    tests::check_adapter_file(&GOLDEN, "pixart", &GOLDEN.folder("pixart/adapter"), "adaln_single.linear");
}

#[test]
fn an_empty_caption_of_earlier_files_is_left_out() {
    let (config, tensors) = GOLDEN.files("pixart");
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("transformer");
    save_denoiser(&folder, &config, &tensors, SaveOptions::default()).unwrap();
    let file = folder.join("diffusion_pytorch_model.safetensors");
    let mut stored = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let empty = Tensor::zeros((3, 44), DType::F32, &Device::Cpu).unwrap();
    stored.insert("caption_projection.y_embedding".to_owned(), empty);
    candle_core::safetensors::save(&stored, &file).unwrap();
    assert!(tensors.keys().eq(load_denoiser(&folder, &Device::Cpu).unwrap().tensors.keys()));
}
