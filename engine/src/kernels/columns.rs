//! Rows times a vector of one number per column, plus another.

use super::Real;
use super::parallel::{PIECE, filled_rows, simd};
use rayon::prelude::*;

/// Multiplies every row by `scale`, number by number, and adds `shift` if there is one.
pub(crate) fn scale<T: Real>(x: &[T], scale: &[T], shift: Option<&[T]>) -> Vec<T> {
    let width = scale.len();
    filled_rows(x.len(), width, |first, rows| {
        rows.copy_from_slice(&x[first * width..][..rows.len()]);
        simd(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(width) {
                    row.iter_mut().zip(scale).for_each(|(value, &scale)| *value *= scale);
                    if let Some(shift) = shift {
                        row.iter_mut().zip(shift).for_each(|(value, &shift)| *value += shift);
                    }
                }
            },
        );
    })
}

/// The sum over rows of products of two matrices, number by number, in pieces of rows added in order.
pub(crate) fn sum_of_products<T: Real>(x: &[T], y: &[T], width: usize) -> Vec<T> {
    let size = (PIECE / width.max(1)).max(1) * width.max(1);
    let pieces: Vec<Vec<T>> = x.par_chunks(size).zip(y.par_chunks(size)).map(|(x, y)| piece(x, y, width)).collect();
    super::rows::sum_pieces(&pieces, width)
}

fn piece<T: Real>(x: &[T], y: &[T], width: usize) -> Vec<T> {
    let mut total = vec![T::zero(); width];
    simd(
        #[inline(always)]
        || {
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact(width)) {
                total.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (&x, &y))| *sum += x * y);
            }
        },
    );
    total
}
