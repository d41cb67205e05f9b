//! Products of a few rows with a large matrix, as in generation: the matrix is read once, as it lies, and not packed.

use super::Real;
use super::parallel::simd;
use rayon::prelude::*;

/// With more rows than this a packed product is faster.
pub(crate) const MOST_ROWS: usize = 24;

/// Numbers of one vector; sums are kept apart by lane.
const LANES: usize = 16;
/// Rows of `x` and of the matrix whose sums are in registers together.
const TILE: (usize, usize) = (4, 2);
/// Rows of the matrix per piece of work.
const PIECE: usize = 64;

/// `y = x W^T` for `x` `[T, n_in]`, `W` `[n_out, n_in]`, `y` `[T, n_out]`.
///
/// A number of `y` does not depend on T, to the bit.
pub(crate) fn multiply_few<T: Real>(x: &[T], weight: &[T], n_in: usize) -> Vec<T> {
    let (n_rows, n_out) = (x.len() / n_in, weight.len() / n_in);
    // Pieces hold all rows of a few columns, so that threads write apart.
    let mut by_column = vec![T::zero(); n_rows * n_out];
    let work = by_column.par_chunks_mut(PIECE * n_rows).zip(weight.par_chunks(PIECE * n_in));
    work.for_each(|(y, weight)| {
        simd(
            #[inline(always)]
            || piece(y, x, weight, n_in),
        );
    });
    let mut y = vec![T::zero(); n_rows * n_out];
    for (column, values) in by_column.chunks_exact(n_rows).enumerate() {
        for (row, value) in values.iter().enumerate() {
            y[row * n_out + column] = *value;
        }
    }
    y
}

#[inline(always)]
fn piece<T: Real>(y: &mut [T], x: &[T], weight: &[T], n_in: usize) {
    let n_rows = x.len() / n_in;
    let columns = y.chunks_mut(n_rows * TILE.1).zip(weight.chunks(n_in * TILE.1));
    for (y, weight) in columns {
        let n_columns = weight.len() / n_in;
        // A short tile repeats its last row; what comes of it is dropped.
        let column = |index: usize| &weight[index.min(n_columns - 1) * n_in..][..n_in];
        let weights = [column(0), column(1)];
        for first in (0..n_rows).step_by(TILE.0) {
            let row = |index: usize| &x[(first + index).min(n_rows - 1) * n_in..][..n_in];
            let sums = tile([row(0), row(1), row(2), row(3)], weights);
            for (index, sums) in sums.iter().enumerate().take(n_rows - first) {
                for (column, sum) in sums.iter().enumerate().take(n_columns) {
                    y[column * n_rows + first + index] = *sum;
                }
            }
        }
    }
}

/// The products of all rows of `x` with all rows of `weight`.
#[inline(always)]
fn tile<T: Real>(x: [&[T]; TILE.0], weight: [&[T]; TILE.1]) -> [[T; TILE.1]; TILE.0] {
    let mut lanes = [[[T::zero(); LANES]; TILE.1]; TILE.0];
    let whole = x[0].len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let weight = [0, 1].map(
            #[inline(always)]
            |column| &weight[column][at..at + LANES],
        );
        for (x, lanes) in x.iter().zip(&mut lanes) {
            let x = &x[at..at + LANES];
            for (weight, lanes) in weight.iter().zip(lanes) {
                for ((sum, &a), &b) in lanes.iter_mut().zip(x).zip(*weight) {
                    *sum = a.fused(b, *sum);
                }
            }
        }
    }
    let mut sums = [[T::zero(); TILE.1]; TILE.0];
    for (row, sums) in sums.iter_mut().enumerate() {
        for (column, sum) in sums.iter_mut().enumerate() {
            let lanes = &mut lanes[row][column];
            let mut width = LANES / 2;
            while width > 0 {
                for lane in 0..width {
                    lanes[lane] += lanes[lane + width];
                }
                width /= 2;
            }
            *sum = lanes[0];
            for (&a, &b) in x[row][whole..].iter().zip(&weight[column][whole..]) {
                *sum = a.fused(b, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::multiply_few;

    #[test]
    fn products_are_sums_of_products_whatever_the_number_of_rows() {
        for (n_rows, n_in, n_out) in [(1, 1, 1), (1, 33, 130), (3, 16, 65), (7, 40, 3), (24, 67, 64)] {
            let number = |seed: usize| move |i: usize| ((i * 37 + seed) % 101) as f64 / 50. - 1.;
            let x: Vec<f64> = (0..n_rows * n_in).map(number(5)).collect();
            let weight: Vec<f64> = (0..n_out * n_in).map(number(8)).collect();
            let y = multiply_few(&x, &weight, n_in);
            for (row, x) in x.chunks_exact(n_in).enumerate() {
                assert_eq!(multiply_few(x, &weight, n_in), y[row * n_out..][..n_out]);
                for (column, weight) in weight.chunks_exact(n_in).enumerate() {
                    let expected: f64 = x.iter().zip(weight).map(|(a, b)| a * b).sum();
                    assert!((y[row * n_out + column] - expected).abs() < 1e-12);
                }
            }
        }
    }
}
