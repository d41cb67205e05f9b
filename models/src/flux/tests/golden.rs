//! Transformers against diffusers and torch (`tests/golden/flux.py` made the numbers).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use engine::ops::{Grid, backward};
use serde_json::Value;

use crate::denoiser::DenoiserConfig;
use crate::flux::{FluxConfig, FluxTransformer};
use crate::formats;
use crate::image_batch::{Contexts, ImageBatch};

pub(super) const CASES: [&str; 2] = ["schnell", "dev"];
/// Images of a golden batch.
const N: usize = 3;

pub(super) fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/flux").join(case)
}

/// A transformer as read from its folder, told of the guidance of the numbers.
pub(super) fn files(case: &str) -> (FluxConfig, BTreeMap<String, Tensor>) {
    let files = formats::load_denoiser(&folder(case), &Device::Cpu).unwrap();
    let DenoiserConfig::Flux(config) = files.config else { panic!("{case} is another network") };
    let guidance = expected(case)["guidance"].as_f64().unwrap();
    (config.with_guidance(guidance).unwrap(), files.tensors)
}

pub(super) fn expected(case: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder(case).join("expected.json")).unwrap()).unwrap()
}

pub(super) fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Converts torch's channels-first layout to rows of pixels.
pub(super) fn rows(value: &Value, grid: Grid) -> Tensor {
    let values = numbers(value);
    let channels = values.len() / grid.rows();
    let images = Tensor::from_vec(values, (N, channels, grid.height, grid.width), &Device::Cpu).unwrap();
    images.permute((0, 2, 3, 1)).unwrap().reshape((grid.rows(), channels)).unwrap()
}

/// The batch of a call; the first and the last image share their caption, the other's is shorter.
pub(super) fn batch(config: &FluxConfig, call: &Value) -> ImageBatch {
    let inputs = &call["inputs"];
    let [height, width]: [usize; 2] = serde_json::from_value(call["size"].clone()).unwrap();
    let grid = Grid { images: N, height, width };
    let mut contexts = numbers(&inputs["a"]);
    let long = contexts.len() / config.context;
    contexts.extend(numbers(&inputs["b"]));
    let all = contexts.len() / config.context;
    let rows_of_captions = Tensor::from_vec(contexts, (all, config.context), &Device::Cpu).unwrap();
    ImageBatch {
        x: rows(&inputs["x"], grid),
        grid,
        times: numbers(&inputs["times"]).into_iter().map(f64::from).collect(),
        contexts: Some(Contexts { rows: rows_of_captions, of_image: vec![0..long, long..all, 0..long] }),
        pooled: Some(Tensor::from_vec(numbers(&inputs["pooled"]), (N, config.pooled), &Device::Cpu).unwrap()),
        time_ids: None,
        classes: None,
    }
}

pub(super) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let error = ours.iter().zip(theirs).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(error <= 1e-4 * largest, "{what}: off by {error} where the largest is {largest}");
}

fn check(case: &str) {
    let (config, tensors) = files(case);
    let model = FluxTransformer::trainable(config, tensors, None).unwrap();
    for call in expected(case)["calls"].as_array().unwrap() {
        let mut batch = batch(&model.config, call);
        let x = Var::from_tensor(&batch.x).unwrap();
        batch.x = x.as_tensor().clone();
        let output = model.forward(&batch).unwrap();
        assert_close(&format!("{case}: output"), &flat(&output), &flat(&rows(&call["output"], batch.grid)));
        let slopes = rows(&call["slopes"], batch.grid);
        let gradients = backward(&(output * slopes).unwrap().sum_all().unwrap()).unwrap();
        let of_input = rows(&call["input_gradient"], batch.grid);
        assert_close(&format!("{case}: input"), &flat(gradients.get(&x).unwrap()), &flat(&of_input));
        let learning: Vec<&str> = model.weights.parameters.trainable().map(|(name, _)| name).collect();
        let theirs: Vec<&String> = call["gradient_norms"].as_object().unwrap().keys().collect();
        assert_eq!(learning.len(), theirs.len(), "{case}: all learn");
        for (name, parameter) in model.weights.parameters.trainable() {
            let gradient = gradients.get(parameter).unwrap_or_else(|| panic!("{case}: {name}"));
            let gradient = flat(gradient);
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let theirs = call["gradient_norms"][name].as_f64().unwrap();
            assert!((norm - theirs).abs() <= 2e-4 * theirs, "{case}: {name}: {norm}, torch has {theirs}");
            if let Some(theirs) = call["gradients"].get(name) {
                assert_close(&format!("{case}: {name}"), &gradient, &numbers(theirs));
            }
        }
    }
}

#[test]
fn outputs_and_gradients_are_those_of_diffusers() {
    CASES.into_iter().for_each(check);
}
