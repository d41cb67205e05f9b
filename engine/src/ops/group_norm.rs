//! Group normalisation.

use super::fused::{Backward, Fused, Gradient, Input, Saved, ternary};
use super::slices::fused_or;
use super::{Grid, composed};
use crate::kernels::Real;
use crate::kernels::elementwise::{Curve, Same, Silu};
use crate::kernels::group_norm::{GroupNorm, Moments};
use candle_core::{Result, Tensor, bail};
use std::marker::PhantomData;

/// The activation after [`group_norm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormActivation {
    /// Nothing.
    None,
    /// [`silu`](super::silu), in the same memory pass.
    Silu,
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, with mean and variance over an image's pixels and a group of
/// adjacent channels, followed by an activation.
///
/// # Shapes
///
/// `x` and the result `[grid.rows(), C]`, `weight` and `bias` `[C]`, with C a multiple of `groups`.
///
/// # References
///
/// Wu and He, *Group Normalization* (2018).
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    grid: Grid,
    activation: NormActivation,
) -> Result<Tensor> {
    check(x, weight, bias, groups, grid)?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    fused_or!(
        &[x, weight, bias],
        T => match activation {
            NormActivation::None => apply::<T, Same>(x, weight, bias, groups, eps, grid),
            NormActivation::Silu => apply::<T, Silu>(x, weight, bias, groups, eps, grid),
        },
        composed::group_norm(x, weight, bias, groups, eps, grid, activation)
    )
}

fn apply<T: Real, C: Curve>(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    grid: Grid,
) -> Result<Tensor> {
    let op = Op::<C> { groups, eps, pixels: grid.pixels(), moments: Saved::new(), activation: PhantomData };
    ternary::<T, _, _>(op, x, weight, bias)
}

fn check(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, grid: Grid) -> Result<()> {
    let (n_rows, width) = x.dims2()?;
    if n_rows != grid.rows() || width == 0 || groups == 0 || !width.is_multiple_of(groups) {
        bail!("norm of {groups} groups over {:?} as {grid:?}", x.dims());
    }
    if weight.dims() != [width] || bias.dims() != [width] {
        bail!("norm of {:?} with parameters {:?} and {:?}", x.dims(), weight.dims(), bias.dims());
    }
    Ok(())
}

struct Op<C> {
    groups: usize,
    eps: f64,
    pixels: usize,
    moments: Saved<Moments>,
    activation: PhantomData<C>,
}

impl<C: Curve> Op<C> {
    fn kernel<'a, T: Real>(&self, [_, weight, bias]: [Input<'a, T>; 3]) -> GroupNorm<'a, T, C> {
        let Self { groups, eps, pixels, activation, .. } = *self;
        GroupNorm { weight: weight.data, bias: bias.data, groups, pixels, eps, activation }
    }
}

impl<T: Real, C: Curve> Fused<T, 3> for Op<C> {
    const NAME: &'static str = "group-norm";

    fn forward(&self, inputs: [Input<'_, T>; 3]) -> Result<Vec<T>> {
        let (y, moments) = self.kernel(inputs).forward(inputs[0].data);
        self.moments.set(moments);
        Ok(y)
    }

    fn backward(&self, pass: &Backward<'_, T, 3>) -> Result<[Gradient<T>; 3]> {
        let (x, moments) = (pass.inputs[0].data, self.moments.get()?);
        let gradients = self.kernel(pass.inputs).backward(x, moments, pass.gradient, pass.requires_grad[0]);
        Ok([gradients.x, gradients.weight, gradients.bias].map(Gradient::Values))
    }
}
