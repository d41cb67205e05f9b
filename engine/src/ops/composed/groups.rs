//! Layers on rows of pixels in plain candle ops.

use super::{gelu, silu};
use crate::ops::{Grid, NormActivation};
use candle_core::{DType, Result, Tensor};

/// See [`crate::ops::group_norm`].
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    grid: Grid,
    activation: NormActivation,
) -> Result<Tensor> {
    let (n_rows, width) = x.dims2()?;
    let by_group = x.reshape((grid.images, grid.height * grid.width, groups, width / groups))?;
    let centred = by_group.broadcast_sub(&by_group.mean_keepdim((1, 3))?)?;
    let deviation = (centred.sqr()?.mean_keepdim((1, 3))? + eps)?.sqrt()?;
    let normal = centred.broadcast_div(&deviation)?.reshape((n_rows, width))?;
    let y = normal.broadcast_mul(weight)?.broadcast_add(bias)?;
    match activation {
        NormActivation::None => Ok(y),
        NormActivation::Silu => silu(&y),
    }
}

/// See [`crate::ops::geglu`].
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(1)? / 2;
    x.narrow(1, 0, half)?.contiguous()? * gelu(&x.narrow(1, half, half)?.contiguous()?)?
}

/// See [`crate::ops::quick_gelu`].
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    silu(&(x * 1.702)?)? / 1.702
}

/// See [`crate::ops::concat`].
pub fn concat(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Tensor::cat(&[a, b], 1)
}

/// See [`crate::ops::add_per_image`].
pub fn add_per_image(x: &Tensor, y: &Tensor, grid: Grid) -> Result<Tensor> {
    let width = x.dim(1)?;
    let by_image = x.reshape((grid.images, grid.height * grid.width, width))?;
    by_image.broadcast_add(&y.reshape((grid.images, 1, width))?)?.reshape((grid.rows(), width))
}

/// See [`crate::ops::squared_errors`].
pub fn squared_errors(prediction: &Tensor, target: &Tensor, images: usize) -> Result<Tensor> {
    let n_per_image = prediction.elem_count() / images;
    let wide = |x: &Tensor| x.to_dtype(DType::F64)?.reshape((images, n_per_image));
    (wide(prediction)? - wide(&target.detach())?)?.sqr()?.sum(1)
}
