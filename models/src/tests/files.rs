//! Models and calls of a family's golden files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use engine::lora::LoraConfig;
use engine::ops::Grid;
use serde_json::Value;

use crate::denoiser::{DenoiserConfig, DenoiserNetwork};
use crate::formats;
use crate::image_batch::{Contexts, ImageBatch};

/// Images of a golden batch.
const N: usize = 3;

/// A family's golden files: `tests/golden/<family>/<case>`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Golden {
    pub(crate) family: &'static str,
    pub(crate) cases: &'static [&'static str],
    /// Whether a parameter has no effect beyond rounding.
    pub(crate) is_idle: fn(&DenoiserConfig, &str) -> bool,
}

impl Golden {
    pub(crate) fn folder(&self, case: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(self.family).join(case)
    }

    /// A network's config and tensors as read from its folder, told what the numbers were made with.
    pub(crate) fn files(&self, case: &str) -> (DenoiserConfig, BTreeMap<String, Tensor>) {
        let files = formats::load_denoiser(&self.folder(case), &Device::Cpu).unwrap();
        (self.told(case, files.config), files.tensors)
    }

    /// A config with the guidance of a case, which no file of a network has.
    pub(crate) fn told(&self, case: &str, config: DenoiserConfig) -> DenoiserConfig {
        match self.expected(case)["guidance"].as_f64() {
            Some(guidance) => config.with_guidance(guidance).unwrap(),
            None => config,
        }
    }

    pub(crate) fn expected(&self, case: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.folder(case).join("expected.json")).unwrap()).unwrap()
    }

    /// A trainable network and the batch of its first call.
    pub(crate) fn learner(&self, case: &str, lora: Option<LoraConfig>) -> (DenoiserNetwork, Arc<ImageBatch>) {
        let (config, tensors) = self.files(case);
        let batch = batch(&config, &self.expected(case)["calls"][0]);
        let network = DenoiserNetwork::trainable(config, tensors, lora.map(|lora| (lora, 7))).unwrap();
        (network, Arc::new(batch))
    }
}

pub(crate) fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Converts torch's channels-first layout to rows of pixels.
pub(crate) fn rows(value: &Value, grid: Grid) -> Tensor {
    let values = numbers(value);
    let channels = values.len() / grid.rows();
    let images = Tensor::from_vec(values, (N, channels, grid.height, grid.width), &Device::Cpu).unwrap();
    images.permute((0, 2, 3, 1)).unwrap().reshape((grid.rows(), channels)).unwrap()
}

/// The batch of a call; the first and the last image share their caption.
pub(crate) fn batch(config: &DenoiserConfig, call: &Value) -> ImageBatch {
    let inputs = &call["inputs"];
    let [height, width]: [usize; 2] = serde_json::from_value(call["size"].clone()).unwrap();
    let grid = Grid { images: N, height, width };
    let pooled = config
        .pooled_width()
        .map(|width| Tensor::from_vec(numbers(&inputs["pooled"]), (N, width), &Device::Cpu).unwrap());
    ImageBatch {
        x: rows(&inputs["x"], grid),
        grid,
        times: numbers(&inputs["times"]).into_iter().map(f64::from).collect(),
        contexts: config.context_width().map(|width| contexts(inputs, width)),
        pooled,
        time_ids: time_ids(inputs),
        classes: inputs.get("classes").map(|classes| numbers(classes).into_iter().map(|class| class as u32).collect()),
    }
}

/// Captions of one length in one tensor, or `a` and `b` of a length each.
fn contexts(inputs: &Value, width: usize) -> Contexts {
    let (values, long) = if let Some(all) = inputs.get("contexts") {
        let all = numbers(all);
        let one = all.len() / N;
        (all[..2 * one].to_vec(), one / width)
    } else {
        let (a, b) = (numbers(&inputs["a"]), numbers(&inputs["b"]));
        ([&a[..], &b].concat(), a.len() / width)
    };
    let all = values.len() / width;
    let rows = Tensor::from_vec(values, (all, width), &Device::Cpu).unwrap();
    Contexts { rows, of_image: vec![0..long, long..all, 0..long] }
}

/// The six numbers of each image, of which `sizes` has the last two.
fn time_ids(inputs: &Value) -> Option<Vec<[f32; 6]>> {
    if let Some(all) = inputs.get("time_ids") {
        return Some(numbers(all).chunks_exact(6).map(|ids| ids.try_into().unwrap()).collect());
    }
    let sizes = numbers(inputs.get("sizes")?);
    Some(sizes.chunks_exact(2).map(|size| [0., 0., 0., 0., size[0], size[1]]).collect())
}

pub(crate) fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let error = ours.iter().zip(theirs).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
    assert!(error <= 1e-4 * largest, "{what}: off by {error} where the largest is {largest}");
}
