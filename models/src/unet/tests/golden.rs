//! UNets against diffusers and torch (`tests/golden/unet.py` made the numbers).
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use engine::ops::{Grid, backward};
use serde_json::Value;

use crate::denoiser::DenoiserConfig;
use crate::formats;
use crate::unet::{Contexts, ImageBatch, UNet, UNetConfig};

pub(super) const CASES: [&str; 6] = ["sd1", "sd2", "sdxl", "ddpm", "ddpm_resnet", "ddpm_resnet_up"];
/// Images of a golden batch.
const N: usize = 3;

pub(super) fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/unet").join(case)
}

/// A UNet as read from its folder.
pub(super) struct UNetFiles {
    pub(super) config: UNetConfig,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

impl UNetFiles {
    /// Its config as one of any family.
    pub(super) fn any(&self) -> DenoiserConfig {
        self.config.clone().into()
    }
}

pub(super) fn files(case: &str) -> UNetFiles {
    let files = formats::load_denoiser(&folder(case), &Device::Cpu).unwrap();
    let DenoiserConfig::UNet(config) = files.config else { panic!("{case} is no UNet") };
    UNetFiles { config, tensors: files.tensors }
}

pub(super) fn expected(case: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder(case).join("expected.json")).unwrap()).unwrap()
}

pub(super) fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

pub(super) fn grid(call: &Value) -> Grid {
    let [height, width]: [usize; 2] = serde_json::from_value(call["size"].clone()).unwrap();
    Grid { images: N, height, width }
}

/// Converts torch's channels-first layout to rows of pixels.
pub(super) fn rows(value: &Value, grid: Grid) -> Tensor {
    let values = numbers(value);
    let channels = values.len() / grid.rows();
    let images = Tensor::from_vec(values, (N, channels, grid.height, grid.width), &Device::Cpu).unwrap();
    images.permute((0, 2, 3, 1)).unwrap().reshape((grid.rows(), channels)).unwrap()
}

pub(super) fn batch(config: &UNetConfig, call: &Value) -> ImageBatch {
    let (inputs, grid) = (&call["inputs"], grid(call));
    let contexts = config.context_width().map(|width| {
        let all = numbers(&inputs["contexts"]);
        let length = all.len() / N / width;
        // The last image has the first one's caption.
        let rows = Tensor::from_slice(&all[..2 * length * width], (2 * length, width), &Device::Cpu).unwrap();
        Contexts { rows, of_image: vec![0..length, length..2 * length, 0..length] }
    });
    let pooled = config
        .pooled_width()
        .map(|width| Tensor::from_vec(numbers(&inputs["pooled"]), (N, width), &Device::Cpu).unwrap());
    let time_ids = pooled.is_some().then(|| {
        let all = numbers(&inputs["time_ids"]);
        all.chunks_exact(6).map(|ids| ids.try_into().unwrap()).collect()
    });
    let times = numbers(&inputs["times"]).into_iter().map(f64::from).collect();
    ImageBatch { x: rows(&inputs["x"], grid), grid, times, contexts, pooled, time_ids, classes: None }
}

pub(super) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let error = ours.iter().zip(theirs).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(error <= 1e-4 * largest, "{what}: off by {error} where the largest is {largest}");
}

/// A gradient in torch's layout.
fn as_torch(gradient: &Tensor) -> Vec<f32> {
    flat(&if gradient.rank() == 4 { gradient.permute((0, 3, 1, 2)).unwrap() } else { gradient.clone() })
}

fn check(case: &str) {
    let files = files(case);
    let model = UNet::trainable(files.config, files.tensors, None).unwrap();
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
        for (name, parameter) in model.weights.parameters.trainable() {
            let gradient = as_torch(gradients.get(parameter).unwrap_or_else(|| panic!("{case}: {name}")));
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let theirs = call["gradient_norms"][name].as_f64().unwrap();
            // A bias of keys has no effect beyond rounding: softmax is invariant to it.
            let bound = 2e-4 * theirs + if name.ends_with("to_k.bias") { 1e-5 } else { 0. };
            assert!((norm - theirs).abs() <= bound, "{case}: {name}: {norm}, torch has {theirs}");
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
