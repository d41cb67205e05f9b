//! Applies the weights of a network by layer name.

use candle_core::Tensor;
use engine::EngineError;
use engine::lora::{Adapter, lora_conv2d, lora_linear};
use engine::ops::{self, Convolution, Grid, Matrix, NormActivation, WeightLayout};

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

/// The tensors of an adapter in one pass.
struct OwnAdapter {
    a: Tensor,
    b: Tensor,
    scale: f64,
    bias: Option<Tensor>,
    magnitude: Option<Tensor>,
    squares: Option<Tensor>,
}

impl OwnAdapter {
    fn lent(&self) -> Adapter<'_> {
        let Self { a, b, scale, bias, magnitude, squares } = self;
        let [bias, magnitude, squares] = [bias, magnitude, squares].map(Option::as_ref);
        Adapter { a, b, scale: *scale, bias, magnitude, squares }
    }
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

    /// A matrix by name, plain or in blocks.
    pub(crate) fn matrix(&self, name: &str) -> Result<Matrix, EngineError> {
        Ok(match self.weights.matrix(name)? {
            Matrix::Dense(tensor) => Matrix::Dense(self.of_pass(&tensor)),
            blocks @ Matrix::Quantised(_) => blocks,
        })
    }

    /// Looks up rows of an embedding.
    pub(crate) fn rows(&self, name: &str, ids: &[u32]) -> Result<Tensor, EngineError> {
        Ok(self.matrix(name)?.rows(ids)?.to_dtype(self.weights.dtype())?)
    }

    /// A layer's adapter, if it has one.
    fn adapter(&self, layer: &str) -> Option<OwnAdapter> {
        let Adapter { a, b, scale, bias, magnitude, squares } = self.weights.adapter(layer)?;
        Some(OwnAdapter {
            a: self.of_pass(a),
            b: self.of_pass(b),
            scale,
            bias: bias.map(|bias| self.of_pass(bias)),
            magnitude: magnitude.map(|magnitude| self.of_pass(magnitude)),
            squares: squares.cloned(),
        })
    }

    /// Applies a linear layer to each row.
    pub(crate) fn linear(&self, x: &Tensor, layer: &str) -> Result<Tensor, EngineError> {
        let (weight, bias, layout) = (self.matrix(&format!("{layer}.weight"))?, self.bias(layer), self.layout);
        Ok(match self.adapter(layer) {
            None => weight.linear(x, bias.as_ref(), layout)?,
            Some(adapter) => lora_linear(x, weight, bias.as_ref(), layout, adapter.lent())?,
        })
    }

    /// Applies the two layers of an embedder of numbers or captions, with a SiLU between them.
    pub(crate) fn embedder(&self, x: &Tensor, name: &str) -> Result<Tensor, EngineError> {
        let inner = ops::silu(&self.linear(x, &format!("{name}.linear_1"))?)?;
        self.linear(&inner, &format!("{name}.linear_2"))
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
            Some(adapter) => lora_conv2d(x, &weight, bias.as_ref(), grid, convolution, adapter.lent())?,
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
