//! Layer and root-mean-square normalisation.

use super::composed;
use super::fused::{Backward, Fused, Gradient, Input, affine};
use super::slices::fused_or;
use crate::kernels::Real;
use crate::kernels::norm::{self as kernel, Centre};
use candle_core::{Result, Tensor, bail};

/// Layer normalisation: `(x - mean) / sqrt(variance + eps) * weight + bias` over each row.
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `weight` and `bias` `[width]`.
///
/// # References
///
/// Ba, Kiros and Hinton, *Layer Normalization* (2016).
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    check(x, weight, bias)?;
    let tensors = [x, weight, bias.unwrap_or(weight)];
    let op = Norm { eps, centre: Centre::Mean };
    fused_or!(&tensors, T => affine::<T, _>(op, x, weight, bias), composed::layer_norm(x, weight, bias, eps))
}

/// Root-mean-square normalisation: `x / sqrt(mean(x^2) + eps) * weight` over each row.
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `weight` `[width]`.
///
/// # References
///
/// Zhang and Sennrich, *Root Mean Square Layer Normalization* (2019).
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    check(x, weight, None)?;
    let op = Norm { eps, centre: Centre::Zero };
    fused_or!(&[x, weight], T => affine::<T, _>(op, x, weight, None), composed::rms_norm(x, weight, eps))
}

fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let width = x.dims().last().copied().unwrap_or(0);
    for parameter in [Some(weight), bias].into_iter().flatten() {
        if width == 0 || parameter.dims() != [width] {
            bail!("norm of {:?} with parameters {:?}", x.dims(), parameter.dims());
        }
    }
    Ok(())
}

struct Norm {
    eps: f64,
    centre: Centre,
}

impl<T: Real, const N: usize> Fused<T, N> for Norm {
    const NAME: &'static str = "norm";

    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<T>> {
        let bias = inputs.get(2).map(|bias| bias.data);
        Ok(kernel::forward(inputs[0].data, inputs[1].data, bias, T::of(self.eps), self.centre))
    }

    fn backward(&self, pass: &Backward<'_, T, N>) -> Result<[Gradient<T>; N]> {
        let (x, weight) = (pass.inputs[0].data, pass.inputs[1].data);
        let gradients = kernel::backward(x, weight, pass.gradient, T::of(self.eps), self.centre);
        Ok(Gradient::first([gradients.x, gradients.weight, gradients.bias]))
    }
}
