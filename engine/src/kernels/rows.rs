//! Sums, copies and look-ups of whole rows.

use super::Real;
use super::parallel::{filled_rows, for_row_pieces, simd, zeros};
use rayon::prelude::*;

/// Accumulator lanes of reductions; a loop over them fills the widest registers.
const LANES: usize = 32;

/// Sum of `f(x)`, in lanes.
#[inline(always)]
pub(super) fn sum_of<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    sum_of_pairs(
        x,
        x,
        #[inline(always)]
        |x, _| f(x),
    )
}

/// Sum of `f(a, b)`, in lanes.
#[inline(always)]
pub(super) fn sum_of_pairs<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let (chunks_a, chunks_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = chunks_a.remainder().iter().zip(chunks_b.remainder());
    for (a, b) in chunks_a.zip(chunks_b) {
        for (sum, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *sum += f(a, b);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    let mut total = lanes[0];
    for (&a, &b) in rest {
        total += f(a, b);
    }
    total
}

/// The largest element, NaN if there is one, minus infinity if empty.
#[inline(always)]
pub(super) fn maximum<T: Real>(x: &[T]) -> T {
    let mut lanes = [T::of(f64::NEG_INFINITY); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            // The comparison propagates NaN on either side.
            *lane = if *lane >= value { *lane } else { value };
        }
    }
    let mut largest = T::of(f64::NEG_INFINITY);
    for &value in lanes.iter().chain(rest) {
        largest = if largest >= value || largest.wide().is_nan() { largest } else { value };
    }
    largest
}

/// Adds `bias` to every row.
pub(crate) fn add_bias<T: Real>(y: &mut [T], bias: &[T]) {
    let width = bias.len();
    for_row_pieces(y, width, |_, rows| {
        simd(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(width) {
                    for (value, &bias) in row.iter_mut().zip(bias) {
                        *value += bias;
                    }
                }
            },
        );
    });
}

/// Sums over rows, in pieces of 64 rows added in order.
pub(crate) fn sum_rows<T: Real>(x: &[T], width: usize) -> Vec<T> {
    let pieces: Vec<Vec<T>> = x.par_chunks(64 * width.max(1)).map(|rows| sum_piece(rows, width)).collect();
    sum_pieces(&pieces, width)
}

/// [`sum_rows`] of each image, whose `pixels` rows are consecutive.
pub(crate) fn sum_rows_of_images<T: Real>(x: &[T], width: usize, pixels: usize) -> Vec<T> {
    let images: Vec<Vec<T>> = x.par_chunks(pixels * width).map(|image| sum_rows(image, width)).collect();
    images.concat()
}

fn sum_piece<T: Real>(rows: &[T], width: usize) -> Vec<T> {
    let mut total = vec![T::zero(); width];
    simd(
        #[inline(always)]
        || {
            for row in rows.chunks_exact(width) {
                for (sum, &value) in total.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        },
    );
    total
}

/// The elementwise sum of equally long pieces, first to last.
pub(super) fn sum_pieces<T: Real>(pieces: &[Vec<T>], width: usize) -> Vec<T> {
    let mut total = vec![T::zero(); width];
    for piece in pieces {
        for (sum, &value) in total.iter_mut().zip(piece) {
            *sum += value;
        }
    }
    total
}

/// Rows `indices` of a matrix.
pub(crate) fn gather<T: Real>(matrix: &[T], width: usize, indices: &[u32]) -> Vec<T> {
    filled_rows(indices.len() * width, width, |first, rows| {
        for (row, &index) in rows.chunks_exact_mut(width).zip(&indices[first..]) {
            row.copy_from_slice(&matrix[index as usize * width..][..width]);
        }
    })
}

/// A matrix of `n_rows` rows in which row `indices[i]` is the sum of rows `i` of `values`, in order of `i`.
pub(crate) fn scatter_add<T: Real>(values: &[T], width: usize, indices: &[u32], n_rows: usize) -> Vec<T> {
    let mut result = zeros(n_rows * width);
    for (value, &index) in values.chunks_exact(width).zip(indices) {
        let row = &mut result[index as usize * width..][..width];
        simd(
            #[inline(always)]
            || {
                for (sum, &value) in row.iter_mut().zip(value) {
                    *sum += value;
                }
            },
        );
    }
    result
}
