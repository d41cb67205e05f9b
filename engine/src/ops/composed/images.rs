//! Layers on rows of pixels in plain candle ops.

use super::{biased, convolved};
use crate::ops::{Convolution, Grid, Padding};
use candle_core::{Result, Tensor, bail};

/// See [`crate::ops::conv2d`].
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    grid: Grid,
    convolution: Convolution,
) -> Result<Tensor> {
    let (n_out, height, width, n_in) = weight.dims4()?;
    let Some(output) = convolution.output(grid, (height, width)) else {
        bail!("{convolution:?} of {grid:?} by {:?}", weight.dims())
    };
    let columns = columns(x, [grid, output], (height, width), convolution)?;
    biased(convolved(&columns, &weight.reshape((n_out, height * width * n_in))?, n_in)?, bias)
}

/// The pixels under every tap of the kernel side by side, `[output rows, height * width * channels]`.
///
/// They are cut out of the padded images tap by tap: the gradient of a lookup by indices, which would be shorter, is a sum over one
/// index after another on CUDA.
fn columns(
    x: &Tensor,
    [grid, output]: [Grid; 2],
    kernel: (usize, usize),
    Convolution { stride, padding }: Convolution,
) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if kernel == (1, 1) && stride == 1 && padding == Padding::default() {
        return Ok(x.clone());
    }
    // As many lines as let every tap be cut out in whole strides.
    let lines = |n_out: usize, n_taps: usize| n_out * stride + n_taps - 1;
    let images = x.reshape((grid.images, grid.height, grid.width, channels))?;
    let images = framed(&images, 1, padding.top, lines(output.height, kernel.0))?;
    let images = framed(&images, 2, padding.left, lines(output.width, kernel.1))?;
    let mut taps = Vec::with_capacity(kernel.0 * kernel.1);
    for (down, right) in (0..kernel.0).flat_map(|down| (0..kernel.1).map(move |right| (down, right))) {
        let tap = images.narrow(1, down, output.height * stride)?.narrow(2, right, output.width * stride)?;
        let tap = tap.reshape((grid.images * output.height, stride, output.width, stride * channels))?;
        let tap = tap.narrow(1, 0, 1)?.narrow(3, 0, channels)?;
        taps.push(tap.reshape((output.rows(), channels))?);
    }
    Tensor::cat(&taps, 1)
}

/// Zeros before and behind a dimension, so many that it has `length` places; places beyond are cut off.
fn framed(x: &Tensor, dim: usize, before: usize, length: usize) -> Result<Tensor> {
    let kept = x.dim(dim)?.min(length.saturating_sub(before));
    x.narrow(dim, 0, kept)?.pad_with_zeros(dim, before.min(length), length.saturating_sub(before + kept))
}

/// See [`crate::ops::upsample_nearest`].
pub fn upsample_nearest(x: &Tensor, grid: Grid) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let lines = grid.images * grid.height;
    let x = x.reshape((lines, 1, grid.width, 1, channels))?;
    x.broadcast_as((lines, 2, grid.width, 2, channels))?.reshape((4 * grid.rows(), channels))
}
