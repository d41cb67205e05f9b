//! Normalisation of rows.

use super::composed;
use candle_core::{Result, Tensor};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over each row.
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `weight` and `bias` `[width]`.
///
/// # References
///
/// Ba, Kiros and Hinton, *Layer Normalization* (2016).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    composed::layer_norm(x, weight, bias, eps)
}

/// `x / sqrt(mean(x^2) + eps) * weight` over each row.
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `weight` `[width]`.
///
/// # References
///
/// Zhang and Sennrich, *Root Mean Square Layer Normalization* (2019).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    composed::rms_norm(x, weight, eps)
}
