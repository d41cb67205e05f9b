//! The tensors of a model: names, shapes and initial values.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;

use super::config::UNetConfig;
use super::plan::segments;
use crate::ModelError;
use crate::network::{LayerShapes, adaptable_layers, initial_tensors};

impl UNetConfig {
    /// Every tensor of the model, under its diffusers name.
    ///
    /// # Shapes
    /// Matrices are `[out, in]`, kernels `[out, height, width, in]`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = LayerShapes::default();
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
        initial_tensors(&self.tensor_shapes(), *noise, device)
    }

    /// The layers that can get an adapter: linear layers and convolutions.
    pub fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        adaptable_layers(self.tensor_shapes())
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
