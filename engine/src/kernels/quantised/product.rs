//! Products with matrices in blocks, of which one tile at a time is dequantised.
//!
//! A tile has whole sums: rows of the matrix where its rows meet `x`, columns where they meet a gradient. So the numbers
//! are those of the product with the dequantised matrix.

use std::ops::Range;

use super::QuantisedMatrix;
use crate::kernels::few_rows::{MOST_ROWS, multiply_few};
use crate::kernels::gemm::{Into, Threads, View, ViewMut};
use crate::kernels::products::multiply;
use crate::kernels::{Real, Vectorised};

/// Numbers in a tile: 2 MB of `f32`, which stay in a cache between dequantisation and product.
const TILE: usize = 1 << 19;

/// The rows of a matrix, plain or in blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MatrixRows<'a, T> {
    /// Plain numbers, row after row.
    Dense(&'a [T]),
    /// Blocks.
    Quantised(&'a QuantisedMatrix),
}

impl<T: Real> MatrixRows<'_, T> {
    /// The number of rows.
    pub(crate) fn n_rows(&self, width: usize) -> usize {
        match self {
            Self::Dense(values) => values.len() / width.max(1),
            Self::Quantised(matrix) => matrix.dims()[0],
        }
    }

    /// `scale x W^T` for some rows W: `y` `[n, rows]` of `x` `[n, width]`.
    pub(crate) fn times(&self, y: &mut [T], scale: T, x: &[T], width: usize, rows: Range<usize>) {
        let (n, stride) = (x.len() / width, rows.len());
        match self {
            Self::Dense(values) => {
                let words = View::new(&values[rows.start * width..rows.end * width], stride, width);
                multiply(
                    ViewMut::new(y, n, stride),
                    Into::Replace,
                    scale,
                    View::new(x, n, width),
                    words.t(),
                    Threads::All,
                );
            }
            Self::Quantised(matrix) => for_tiles(matrix, rows, |place, tile| {
                let result = ViewMut::strided(y, place, n, tile.len() / width, stride);
                let words = View::new(tile, tile.len() / width, width);
                multiply(result, Into::Replace, scale, View::new(x, n, width), words.t(), Threads::All);
            }),
        }
    }

    /// Adds `scale g W` for some rows W: to `result` `[n, width]` of `g` `[n, rows]`.
    pub(crate) fn add_back(&self, result: &mut [T], scale: T, gradient: &[T], width: usize, rows: Range<usize>) {
        let n = gradient.len() / rows.len().max(1);
        let slopes = View::new(gradient, n, rows.len());
        match self {
            Self::Dense(values) => {
                let words = View::new(&values[rows.start * width..rows.end * width], rows.len(), width);
                multiply(ViewMut::new(result, n, width), Into::Add, scale, slopes, words, Threads::All);
            }
            Self::Quantised(matrix) => back(matrix, rows, result, Into::Add, scale, slopes, n),
        }
    }
}

/// `x W^T` for `x` `[n, in]` and `W` `[out, in]`.
pub(crate) fn product<T: Vectorised>(x: &[T], matrix: &QuantisedMatrix) -> Vec<T> {
    let [n_out, n_in] = matrix.dims();
    let n = x.len() / n_in;
    let mut y = vec![T::zero(); n * n_out];
    if (1..=MOST_ROWS).contains(&n) {
        for_tiles(matrix, 0..n_out, |place, tile| {
            let width = tile.len() / n_in;
            let part = multiply_few(x, tile, n_in);
            for (y, part) in y.chunks_exact_mut(n_out).zip(part.chunks_exact(width)) {
                y[place..place + width].copy_from_slice(part);
            }
        });
    } else {
        MatrixRows::Quantised(matrix).times(&mut y, T::one(), x, n_in, 0..n_out);
    }
    y
}

/// `g W` for `g` `[n, out]` and `W` `[out, in]`.
pub(crate) fn to_input<T: Real>(gradient: &[T], matrix: &QuantisedMatrix) -> Vec<T> {
    let [n_out, n_in] = matrix.dims();
    let n = gradient.len() / n_out.max(1);
    let mut result = vec![T::zero(); n * n_in];
    back(matrix, 0..n_out, &mut result, Into::Replace, T::one(), View::new(gradient, n, n_out), n);
    result
}

/// Calls `action` with the place of each tile of some rows and its numbers.
fn for_tiles<T: Real>(matrix: &QuantisedMatrix, rows: Range<usize>, mut action: impl FnMut(usize, &[T])) {
    let [_, width] = matrix.dims();
    let n = (TILE / width).max(1).min(rows.len());
    let mut tile = vec![T::zero(); n * width];
    for first in rows.clone().step_by(n.max(1)) {
        let last = (first + n).min(rows.end);
        let tile = &mut tile[..(last - first) * width];
        matrix.read(first..last, 0..width, tile);
        action(first - rows.start, tile);
    }
}

/// The product of slopes `[n, rows]` with some rows, in tiles of columns.
fn back<T: Real>(
    matrix: &QuantisedMatrix,
    rows: Range<usize>,
    result: &mut [T],
    into: Into,
    scale: T,
    slopes: View<'_, T>,
    n: usize,
) {
    let ([_, width], block) = (matrix.dims(), matrix.format().block_size());
    let n_columns = (TILE / rows.len().max(1) / block * block).clamp(block, width);
    let mut tile = vec![T::zero(); rows.len() * n_columns];
    for first in (0..width).step_by(n_columns) {
        let last = (first + n_columns).min(width);
        let tile = &mut tile[..rows.len() * (last - first)];
        matrix.read(rows.clone(), first..last, tile);
        let result = ViewMut::strided(result, first, n, last - first, width);
        let words = View::new(tile, rows.len(), last - first);
        multiply(result, into, scale, slopes, words, Threads::All);
    }
}
