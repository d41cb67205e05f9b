//! Affine maps.

use super::composed;
use candle_core::{Result, Tensor};

/// How a weight matrix lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[out, in]`, as in PyTorch's `Linear`.
    OutIn,
    /// `[in, out]`, as in GPT-2's `Conv1D`.
    InOut,
}

/// `y = x W^T + b` (or `x W + b` with [`WeightLayout::InOut`]).
///
/// # Shapes
///
/// `x` `[T, in]`, `bias` `[out]`, result `[T, out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, layout: WeightLayout) -> Result<Tensor> {
    composed::linear(x, weight, bias, layout)
}
