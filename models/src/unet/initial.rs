//! The tensors of a model: names, shapes and initial values.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use engine::lora::AdaptableLayer;
use engine::{Noise, noise};

use super::config::UNetConfig;
use super::plan::segments;
use super::shapes::Shapes;
use crate::ModelError;

impl UNetConfig {
    /// Every tensor of the model, under its diffusers name.
    ///
    /// # Shapes
    /// Matrices are `[out, in]`, kernels `[out, height, width, in]`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = Shapes::default();
        let first = self.levels[0].width;
        shapes.convolution("conv_in", first, self.in_kernel, self.in_channels);
        shapes.linear("time_embedding.linear_1", self.time_width, first);
        shapes.linear("time_embedding.linear_2", self.time_width, self.time_width);
        if let Some(text_time) = self.text_time {
            shapes.linear("add_embedding.linear_1", self.time_width, text_time.input);
            shapes.linear("add_embedding.linear_2", self.time_width, self.time_width);
        }
        for segment in segments(self) {
            segment.add_shapes(&mut shapes);
        }
        shapes.norm("conv_norm_out", first);
        shapes.convolution("conv_out", self.out_channels, self.out_kernel, first);
        shapes.tensors
    }

    /// Random initial tensors, as PyTorch initialises its layers: weights and biases uniform within one over the square
    /// root of the fan-in, norm weights one and biases zero.
    ///
    /// Each tensor depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let shapes = self.tensor_shapes();
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
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        let layer = |(name, shape): (String, Vec<usize>)| {
            let name = name.strip_suffix(".weight")?.to_owned();
            match *shape.as_slice() {
                [n_out, n_in] => Some(AdaptableLayer { name, n_in, n_out, kernel: None }),
                [n_out, height, width, n_in] => {
                    Some(AdaptableLayer { name, n_in, n_out, kernel: Some((height, width)) })
                }
                _ => None,
            }
        };
        self.tensor_shapes().into_iter().filter_map(layer).collect()
    }

    /// The canonical name of a tensor in a file: diffusers before 0.15 had other names for self-attention.
    pub fn canonical_name(&self, found: &str) -> String {
        const RENAMED: [(&str, &str); 4] =
            [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
        let renamed = RENAMED.iter().find_map(|(old, new)| {
            let (layer, end) = found.rsplit_once('.')?;
            Some(format!("{}.{new}.{end}", layer.strip_suffix(old)?.strip_suffix('.')?))
        });
        renamed.unwrap_or_else(|| found.to_owned())
    }
}
