//! Activations and sums, element by element.

use super::composed;
use candle_core::{Result, Tensor};

/// The Gaussian error linear unit, `x Phi(x)`, with the exact normal distribution function Phi.
///
/// # References
///
/// Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    composed::gelu(x)
}

/// The tanh approximation of [`gelu`]: `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    composed::gelu_tanh(x)
}

/// `x sigmoid(x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    composed::silu(x)
}

/// `silu(gate) * up`, two tensors of one shape.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    composed::swiglu(gate, up)
}

/// `a + b`, two tensors of one shape.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    composed::add(a, b)
}
