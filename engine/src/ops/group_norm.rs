//! Normalisation of groups of channels, image by image.

use super::slices::{fused_or, read, slice, stored, wanted};
use super::{Grid, composed};
use crate::kernels::Real;
use crate::kernels::elementwise::{Curve, Same, Silu};
use crate::kernels::group_norm::{GroupNorm, Moments};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// What [`group_norm`] does to its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormActivation {
    /// Nothing.
    None,
    /// [`silu`](super::silu), in the same pass over the memory.
    Silu,
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, mean and variance being those of an image's pixels in a group
/// of neighbouring channels, and an activation after it.
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
    let op = Op::<T, C> { groups, eps, pixels: grid.pixels(), moments: OnceLock::new(), kind: PhantomData };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
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

struct Op<T, C> {
    groups: usize,
    eps: f64,
    pixels: usize,
    /// What the forward pass leaves for the backward pass.
    moments: OnceLock<Moments>,
    kind: PhantomData<(T, C)>,
}

impl<T: Real, C: Curve> Op<T, C> {
    fn kernel<'a>(&self, weight: &'a [T], bias: &'a [T]) -> GroupNorm<'a, T, C> {
        let Self { groups, eps, pixels, .. } = *self;
        GroupNorm { weight, bias, groups, pixels, eps, activation: PhantomData }
    }
}

impl<T: Real, C: Curve> CustomOp3 for Op<T, C> {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, moments) = self.kernel(slice(s2, l2)?, slice(s3, l3)?).forward(slice(s1, l1)?);
        // Ops run forward once; a second time would leave the same numbers.
        let _ = self.moments.set(moments);
        Ok(stored(y, l1.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(moments) = self.moments.get() else { bail!("a backward pass without a forward pass") };
        let gradient = gradient.contiguous()?;
        let gradients = {
            let (weight, bias) = (read(weight)?, read(bias)?);
            self.kernel(&weight, &bias).backward(&read(x)?, moments, &read(&gradient)?, x.track_op())
        };
        Ok((wanted(gradients.x, x)?, wanted(gradients.weight, weight)?, wanted(gradients.bias, bias)?))
    }
}
