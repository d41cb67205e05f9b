//! Products of a few rows with a large matrix, as in generation: the matrix is read once, as it lies, and not packed.

use super::Real;
use super::parallel::simd;
use rayon::prelude::*;

/// With more rows than this a packed product is faster.
pub(crate) const MOST_ROWS: usize = 24;

/// Numbers of one vector; sums are kept apart by lane.
const LANES: usize = 32;
/// Rows whose sums are in registers together.
const TILE: usize = 4;
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
    for (y, weight) in y.chunks_exact_mut(n_rows).zip(weight.chunks_exact(n_in)) {
        for (y, first) in y.chunks_mut(TILE).zip((0..n_rows).step_by(TILE)) {
            // A short tile repeats its last row; what comes of it is dropped.
            let last = n_rows - 1;
            let sums = tile(
                row_of(x, n_in, first),
                row_of(x, n_in, last.min(first + 1)),
                row_of(x, n_in, last.min(first + 2)),
                row_of(x, n_in, last.min(first + 3)),
                weight,
            );
            y.copy_from_slice(&sums[..y.len()]);
        }
    }
}

#[inline(always)]
fn row_of<T>(x: &[T], width: usize, row: usize) -> &[T] {
    &x[row * width..][..width]
}

/// The products of four rows with one.
///
/// The loops are written out one by one: so they vectorise, and their sums stay in registers.
#[inline(always)]
fn tile<T: Real>(x0: &[T], x1: &[T], x2: &[T], x3: &[T], weight: &[T]) -> [T; TILE] {
    let [mut sums0, mut sums1, mut sums2, mut sums3] = [[T::zero(); LANES]; TILE];
    let chunks = weight.chunks_exact(LANES);
    let whole = weight.len() - chunks.remainder().len();
    let rows = x0.chunks_exact(LANES).zip(x1.chunks_exact(LANES));
    let rows = rows.zip(x2.chunks_exact(LANES).zip(x3.chunks_exact(LANES)));
    for (weight, ((x0, x1), (x2, x3))) in chunks.zip(rows) {
        for (sum, (&a, &b)) in sums0.iter_mut().zip(x0.iter().zip(weight)) {
            *sum = a.fused(b, *sum);
        }
        for (sum, (&a, &b)) in sums1.iter_mut().zip(x1.iter().zip(weight)) {
            *sum = a.fused(b, *sum);
        }
        for (sum, (&a, &b)) in sums2.iter_mut().zip(x2.iter().zip(weight)) {
            *sum = a.fused(b, *sum);
        }
        for (sum, (&a, &b)) in sums3.iter_mut().zip(x3.iter().zip(weight)) {
            *sum = a.fused(b, *sum);
        }
    }
    let rest = &weight[whole..];
    [
        total(sums0, &x0[whole..], rest),
        total(sums1, &x1[whole..], rest),
        total(sums2, &x2[whole..], rest),
        total(sums3, &x3[whole..], rest),
    ]
}

/// The sum over lanes, and over what did not fill them.
#[inline(always)]
fn total<T: Real>(mut lanes: [T; LANES], x: &[T], weight: &[T]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    let mut total = lanes[0];
    for (&a, &b) in x.iter().zip(weight) {
        total = a.fused(b, total);
    }
    total
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
