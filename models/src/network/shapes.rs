//! Names, shapes and initial values of tensors, collected layer by layer.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use engine::lora::AdaptableLayer;
use engine::{Noise, noise};

use crate::ModelError;

/// Every tensor of a model with its shape in memory: kernels are `[out, height, width, in]`.
#[derive(Debug, Default)]
pub(crate) struct LayerShapes {
    pub(crate) tensors: BTreeMap<String, Vec<usize>>,
}

impl LayerShapes {
    pub(crate) fn linear(&mut self, name: &str, n_out: usize, n_in: usize) {
        self.matrix(name, n_out, n_in);
        self.tensors.insert(format!("{name}.bias"), vec![n_out]);
    }

    /// A linear layer without a bias.
    pub(crate) fn matrix(&mut self, name: &str, n_out: usize, n_in: usize) {
        self.tensors.insert(format!("{name}.weight"), vec![n_out, n_in]);
    }

    pub(crate) fn convolution(&mut self, name: &str, n_out: usize, kernel: usize, n_in: usize) {
        self.tensors.insert(format!("{name}.weight"), vec![n_out, kernel, kernel, n_in]);
        self.tensors.insert(format!("{name}.bias"), vec![n_out]);
    }

    pub(crate) fn norm(&mut self, name: &str, width: usize) {
        for part in ["weight", "bias"] {
            self.tensors.insert(format!("{name}.{part}"), vec![width]);
        }
    }

    /// A norm without a bias.
    pub(crate) fn scale(&mut self, name: &str, width: usize) {
        self.tensors.insert(format!("{name}.weight"), vec![width]);
    }
}

/// Random initial tensors, as PyTorch initialises its layers: weights and biases uniform within one over the square
/// root of the fan-in, norm weights one and biases zero.
///
/// Each tensor depends on the seed and its name only.
///
/// # Errors
/// The device is out of memory.
pub(crate) fn initial_tensors(
    shapes: &BTreeMap<String, Vec<usize>>,
    noise: Noise,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let start = |(name, shape): (&String, &Vec<usize>)| {
        let layer = name.strip_suffix(".bias");
        let of_layer = layer.and_then(|layer| shapes.get(&format!("{layer}.weight")));
        let weight = of_layer.unwrap_or(shape);
        let tensor = if weight.len() > 1 {
            let n_in: usize = weight[1..].iter().product();
            let bound = 1. / (n_in as f64).sqrt();
            noise::uniform(&mut noise.stream(name, 0), shape.as_slice(), -bound, bound, device)?
        } else if layer.is_some() {
            Tensor::zeros(shape.as_slice(), DType::F32, device)?
        } else {
            Tensor::ones(shape.as_slice(), DType::F32, device)?
        };
        Ok((name.clone(), tensor))
    };
    shapes.iter().map(start).collect()
}

/// The layers that can get an adapter: linear layers and convolutions.
pub(crate) fn adaptable_layers(shapes: BTreeMap<String, Vec<usize>>) -> Vec<AdaptableLayer> {
    let layer = |(name, shape): (String, Vec<usize>)| {
        let name = name.strip_suffix(".weight")?.to_owned();
        match *shape.as_slice() {
            [n_out, n_in] => Some(AdaptableLayer { name, n_in, n_out, kernel: None }),
            [n_out, height, width, n_in] => Some(AdaptableLayer { name, n_in, n_out, kernel: Some((height, width)) }),
            _ => None,
        }
    };
    shapes.into_iter().filter_map(layer).collect()
}
