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
        Ok(self.matrix(name)?.rows(ids, &self.weights.device())?.to_dtype(self.weights.dtype())?)
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

    /// Normalises each row by its mean and variance (layer norm).
    pub(crate) fn layer_norm(&self, x: &Tensor, layer: &str, epsilon: f64) -> Result<Tensor, EngineError> {
        Ok(ops::layer_norm(x, &self.weight(layer)?, self.bias(layer).as_ref(), epsilon)?)
    }

    /// Normalises each image over its pixels and a group of channels (group norm), for one use, after which the result's memory is
    /// free until the backward pass: see [`ops::remade`].
    pub(crate) fn with_group_norm<R>(
        &self,
        (x, layer, norm): (&Tensor, &str, GroupNorm),
        grid: Grid,
        activation: NormActivation,
        used: impl FnOnce(&Tensor) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let (weight, bias) = (self.weight(layer)?, self.tensor(&format!("{layer}.bias"))?);
        let GroupNorm { n_groups, epsilon } = norm;
        let make = move |x: &[Tensor]| ops::group_norm(&x[0], &x[1], &x[2], n_groups, epsilon, grid, activation);
        ops::remade(&[x, &weight, &bias], make, used)
    }

    /// [`layer_norm`](Self::layer_norm) for one use, after which its memory is free until the backward pass.
    pub(crate) fn with_layer_norm<R>(
        &self,
        (x, layer, epsilon): (&Tensor, &str, f64),
        used: impl FnOnce(&Tensor) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let (weight, bias) = (self.weight(layer)?, self.bias(layer));
        let inputs: Vec<&Tensor> = [x, &weight].into_iter().chain(&bias).collect();
        ops::remade(&inputs, move |x| ops::layer_norm(&x[0], &x[1], x.get(2), epsilon), used)
    }

    /// Layer norm and a linear layer on it, for one use: neither result stays in memory for the backward pass, which makes both
    /// again. An adapted layer's result stays.
    pub(crate) fn with_projected_norm<R>(
        &self,
        (x, norm, epsilon): (&Tensor, &str, f64),
        layer: &str,
        used: impl FnOnce(&Tensor) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let (Matrix::Dense(weight), None) = (self.matrix(&format!("{layer}.weight"))?, self.adapter(layer)) else {
            return used(&self.with_layer_norm((x, norm, epsilon), |read| self.linear(read, layer))?);
        };
        let (scale, shift, bias, layout) = (self.weight(norm)?, self.bias(norm), self.bias(layer), self.layout);
        let inputs: Vec<&Tensor> = [x, &scale, &weight].into_iter().chain(&shift).chain(&bias).collect();
        let shift_at = shift.as_ref().map(|_| 3);
        let bias_at = bias.as_ref().map(|_| 3 + usize::from(shift.is_some()));
        let make = move |x: &[Tensor]| {
            let inputs: Vec<&Tensor> = [&x[0], &x[1]].into_iter().chain(shift_at.map(|at| &x[at])).collect();
            let linear = |read: &Tensor| ops::linear(read, &x[2], bias_at.map(|at| &x[at]), layout);
            ops::remade(&inputs, move |x| ops::layer_norm(&x[0], &x[1], x.get(2), epsilon), linear)
        };
        ops::remade(&inputs, make, used)
    }

    /// [`rms_norm`](Self::rms_norm) for one use, after which its memory is free until the backward pass.
    pub(crate) fn with_rms_norm<R>(
        &self,
        (x, layer, epsilon): (&Tensor, &str, f64),
        used: impl FnOnce(&Tensor) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        ops::remade(&[x, &self.weight(layer)?], move |x| ops::rms_norm(&x[0], &x[1], epsilon), used)
    }

    /// Normalises each row by its root mean square (RMS norm).
    pub(crate) fn rms_norm(&self, x: &Tensor, layer: &str, epsilon: f64) -> Result<Tensor, EngineError> {
        Ok(ops::rms_norm(x, &self.weight(layer)?, epsilon)?)
    }
}
