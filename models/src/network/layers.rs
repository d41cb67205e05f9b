//! Applies the weights of a network by layer name.

use candle_core::Tensor;
use engine::EngineError;
use engine::lora::{Adapter, lora_conv2d, lora_linear};
use engine::ops::{self, Convolution, Grid, NormActivation, WeightLayout};

use super::Weights;

/// Whether a pass records a graph for its backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It records one.
    Training,
    /// It records none.
    Scoring,
}

/// Applies the weights of a network in one pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) pass: Pass,
    /// The layout of the matrices.
    pub(crate) layout: WeightLayout,
}

/// The settings of a group norm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupNorm {
    pub(crate) n_groups: usize,
    pub(crate) epsilon: f64,
}

impl Layers<'_> {
    /// A tensor by name.
    pub(crate) fn tensor(&self, name: &str) -> Result<Tensor, EngineError> {
        Ok(self.of_pass(self.weights.parameters.get(name)?))
    }

    fn weight(&self, layer: &str) -> Result<Tensor, EngineError> {
        self.tensor(&format!("{layer}.weight"))
    }

    fn bias(&self, layer: &str) -> Option<Tensor> {
        self.weights.parameters.find(&format!("{layer}.bias")).map(|bias| self.of_pass(bias))
    }

    fn of_pass(&self, tensor: &Tensor) -> Tensor {
        match self.pass {
            Pass::Training => tensor.clone(),
            Pass::Scoring => tensor.detach(),
        }
    }

    /// A layer's adapter, A, B and their scale, if it has one.
    fn adapter(&self, layer: &str) -> Option<(Tensor, Tensor, f64)> {
        let Adapter { a, b, scale } = self.weights.lora.as_ref()?.adapter(&self.weights.parameters, layer)?;
        Some((self.of_pass(a), self.of_pass(b), scale))
    }

    /// Applies a linear layer to each row.
    pub(crate) fn linear(&self, x: &Tensor, layer: &str) -> Result<Tensor, EngineError> {
        let (weight, bias, layout) = (self.weight(layer)?, self.bias(layer), self.layout);
        Ok(match self.adapter(layer) {
            None => ops::linear(x, &weight, bias.as_ref(), layout)?,
            Some((a, b, scale)) => lora_linear(x, &weight, bias.as_ref(), layout, Adapter { a: &a, b: &b, scale })?,
        })
    }

    /// Convolves each image.
    pub(crate) fn convolution(
        &self,
        x: &Tensor,
        layer: &str,
        grid: Grid,
        convolution: Convolution,
    ) -> Result<Tensor, EngineError> {
        let (weight, bias) = (self.weight(layer)?, self.bias(layer));
        Ok(match self.adapter(layer) {
            None => ops::conv2d(x, &weight, bias.as_ref(), grid, convolution)?,
            Some((a, b, scale)) => {
                lora_conv2d(x, &weight, bias.as_ref(), grid, convolution, Adapter { a: &a, b: &b, scale })?
            }
        })
    }

    /// Normalises each image over its pixels and a group of channels (group norm).
    pub(crate) fn group_norm(
        &self,
        x: &Tensor,
        layer: &str,
        norm: GroupNorm,
        grid: Grid,
        activation: NormActivation,
    ) -> Result<Tensor, EngineError> {
        let (weight, bias) = (self.weight(layer)?, self.tensor(&format!("{layer}.bias"))?);
        Ok(ops::group_norm(x, &weight, &bias, norm.n_groups, norm.epsilon, grid, activation)?)
    }

    /// Normalises each row by its mean and variance (layer norm).
    pub(crate) fn layer_norm(&self, x: &Tensor, layer: &str, epsilon: f64) -> Result<Tensor, EngineError> {
        Ok(ops::layer_norm(x, &self.weight(layer)?, self.bias(layer).as_ref(), epsilon)?)
    }

    /// Normalises each row by its root mean square (RMS norm).
    pub(crate) fn rms_norm(&self, x: &Tensor, layer: &str, epsilon: f64) -> Result<Tensor, EngineError> {
        Ok(ops::rms_norm(x, &self.weight(layer)?, epsilon)?)
    }
}
