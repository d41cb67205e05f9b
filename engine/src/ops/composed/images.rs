//! Layers of images.

use super::linear;
use crate::ops::{Convolution, Grid, WeightLayout};
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
    // The pixel under each tap, by row of x; an extra row of zeros stands for the padding.
    let pixels = seen(grid, output, (height, width), convolution);
    let pixels = Tensor::from_vec(pixels, output.rows() * height * width, x.device())?;
    let padded = Tensor::cat(&[x, &Tensor::zeros((1, n_in), x.dtype(), x.device())?], 0)?;
    let columns = padded.index_select(&pixels, 0)?.reshape((output.rows(), height * width * n_in))?;
    linear(&columns, &weight.reshape((n_out, height * width * n_in))?, bias, WeightLayout::OutIn)
}

/// For each tap and output pixel the row under it, one past the last for padding.
fn seen(grid: Grid, output: Grid, kernel: (usize, usize), convolution: Convolution) -> Vec<u32> {
    let Convolution { stride, padding } = convolution;
    let mut rows = Vec::with_capacity(output.rows() * kernel.0 * kernel.1);
    for place in 0..output.rows() {
        let (image, place) = (place / output.pixels(), place % output.pixels());
        let (top, left) = (place / output.width * stride, place % output.width * stride);
        for (down, right) in (0..kernel.0 * kernel.1).map(|pixel| (pixel / kernel.1, pixel % kernel.1)) {
            let row = (top + down).checked_sub(padding.top).filter(|&row| row < grid.height);
            let column = (left + right).checked_sub(padding.left).filter(|&column| column < grid.width);
            let pixel = row.zip(column).map(|(row, column)| (image * grid.height + row) * grid.width + column);
            rows.push(pixel.unwrap_or(grid.rows()) as u32);
        }
    }
    rows
}

/// See [`crate::ops::upsample_nearest`].
pub fn upsample_nearest(x: &Tensor, grid: Grid) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let lines = grid.images * grid.height;
    let x = x.reshape((lines, 1, grid.width, 1, channels))?;
    x.broadcast_as((lines, 2, grid.width, 2, channels))?.reshape((4 * grid.rows(), channels))
}
