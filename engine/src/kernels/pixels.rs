//! Rows of pixels: concatenation, per-image sums and errors.

use super::Real;
use super::parallel::{PIECE, for_row_pieces, simd};
use super::rows::sum_of_pairs;
use rayon::prelude::*;

/// Rows of `a`, each followed by the row of `b`.
pub(crate) fn concat<T: Real>(a: &[T], b: &[T], widths: [usize; 2]) -> Vec<T> {
    let width = widths[0] + widths[1];
    let mut result = vec![T::zero(); a.len() + b.len()];
    for_row_pieces(&mut result, width, |first, rows| {
        let rows = rows.chunks_exact_mut(width);
        let (a, b) = (&a[first * widths[0]..], &b[first * widths[1]..]);
        for ((row, a), b) in rows.zip(a.chunks_exact(widths[0])).zip(b.chunks_exact(widths[1])) {
            let (left, right) = row.split_at_mut(widths[0]);
            left.copy_from_slice(a);
            right.copy_from_slice(b);
        }
    });
    result
}

/// Columns `start..start + part` of a matrix with rows of `width`.
pub(crate) fn columns<T: Real>(x: &[T], width: usize, start: usize, part: usize) -> Vec<T> {
    let mut result = vec![T::zero(); x.len() / width * part];
    for_row_pieces(&mut result, part, |first, rows| {
        for (row, x) in rows.chunks_exact_mut(part).zip(x[first * width..].chunks_exact(width)) {
            row.copy_from_slice(&x[start..start + part]);
        }
    });
    result
}

/// `x` plus row `i` of `y` in every row of image `i`.
pub(crate) fn add_per_image<T: Real>(x: &[T], y: &[T], width: usize, pixels: usize) -> Vec<T> {
    let mut result = vec![T::zero(); x.len()];
    for_row_pieces(&mut result, width, |first, rows| {
        let x = &x[first * width..][..rows.len()];
        simd(
            #[inline(always)]
            || {
                for (index, (row, x)) in rows.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
                    let y = &y[(first + index) / pixels * width..][..width];
                    for (sum, (&x, &y)) in row.iter_mut().zip(x.iter().zip(y)) {
                        *sum = x + y;
                    }
                }
            },
        );
    });
    result
}

/// Adds an image's row of `y` to all of its pixels in `x`.
pub(crate) fn add_onto_images<T: Real>(x: &mut [T], y: &[T], width: usize, pixels: usize) {
    for_row_pieces(x, width, |first, rows| {
        simd(
            #[inline(always)]
            || {
                for (index, row) in rows.chunks_exact_mut(width).enumerate() {
                    let y = &y[(first + index) / pixels * width..][..width];
                    row.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
                }
            },
        );
    });
}

/// Sum of squared differences of each image, `image` numbers long.
pub(crate) fn squared_errors<T: Real>(a: &[T], b: &[T], image: usize) -> Vec<f64> {
    let images = a.par_chunks(image).zip(b.par_chunks(image));
    images
        .map(|(a, b)| {
            let pieces = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
            let pieces: Vec<f64> = pieces
                .map(|(a, b)| {
                    simd(
                        #[inline(always)]
                        || squared_error(a, b),
                    )
                })
                .collect();
            pieces.iter().sum()
        })
        .collect()
}

/// Numbers whose squares are summed in the kernel's own precision, 16 per lane.
const RUN: usize = 512;

#[inline(always)]
fn squared_error<T: Real>(a: &[T], b: &[T]) -> f64 {
    let run = |(a, b): (&[T], &[T])| {
        sum_of_pairs(
            a,
            b,
            #[inline(always)]
            |a, b| (a - b) * (a - b),
        )
        .wide()
    };
    a.chunks(RUN).zip(b.chunks(RUN)).map(run).sum()
}

/// `2 gradient (a - b)` with each image's gradient.
pub(crate) fn squared_error_slopes<T: Real>(a: &[T], b: &[T], gradient: &[f64]) -> Vec<T> {
    let mut result = vec![T::zero(); a.len()];
    let image = (a.len() / gradient.len().max(1)).max(1);
    let images = result.par_chunks_mut(image).zip(a.par_chunks(image).zip(b.par_chunks(image))).zip(gradient);
    images.for_each(|((result, (a, b)), &gradient)| {
        let factor = T::of(2. * gradient);
        let pieces = result.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE).zip(b.par_chunks(PIECE)));
        pieces.for_each(|(result, (a, b))| {
            simd(
                #[inline(always)]
                || {
                    for (result, (&a, &b)) in result.iter_mut().zip(a.iter().zip(b)) {
                        *result = factor * (a - b);
                    }
                },
            );
        });
    });
    result
}
