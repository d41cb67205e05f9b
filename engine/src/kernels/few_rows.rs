//! Products of a few rows with a large matrix, as in generation: the matrix is read once, as it lies, and not packed.
//!
//! The rows are few, so they are what is packed: a vector holds one number of each row, and meets one number of the matrix.

use super::gemm::Shared;
use super::vectors::{Vectorised, accumulate};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// With more rows than this a product that packs the matrix is faster.
pub(crate) const MOST_ROWS: usize = 128;

/// Rows of the matrix per piece of work, a whole number of tiles.
const PIECE: usize = 48;
/// Rows of the matrix whose sums are in registers together.
const TILE: usize = 6;
/// Vectors of rows whose sums are in registers together, with the 32 registers of AVX-512 and with the 16 of others.
const WIDE: usize = 4;
const NARROW: usize = 2;

/// `y = x W^T` for `x` `[T, n_in]`, `W` `[n_out, n_in]`, `y` `[T, n_out]`.
///
/// A number of `y` is summed in the order of its row and does not depend on T, to the bit.
pub(crate) fn multiply_few<T: Vectorised>(x: &[T], weight: &[T], n_in: usize) -> Vec<T> {
    let (n_rows, n_out) = (x.len() / n_in, weight.len() / n_in);
    let mut y = vec![T::zero(); n_rows * n_out];
    let rows = Panels::of_rows(x, n_in);
    let columns = Shared::new(&mut y);
    weight.par_chunks(PIECE * n_in).enumerate().for_each(|(piece, weight)| {
        Arch::new().dispatch(Piece { rows: &rows, weight, y: columns, n_out, first: piece * PIECE });
    });
    y
}

/// Rows in the order of use: `[panel, number of the row, row of the panel]`.
struct Panels<T> {
    data: Vec<T>,
    n_rows: usize,
    n_in: usize,
    lanes: usize,
}

impl<T: Vectorised> Panels<T> {
    fn of_rows(x: &[T], n_in: usize) -> Self {
        let (n_rows, lanes) = (x.len() / n_in, T::lanes());
        let data = vec![T::zero(); n_rows.next_multiple_of(lanes) * n_in];
        let mut panels = Self { data, n_rows, n_in, lanes };
        let widest = panels.widest();
        for (panel, x) in panels.data.chunks_mut(widest * n_in).zip(x.chunks(widest * n_in)) {
            let width = panel.len() / n_in;
            for (row, x) in x.chunks_exact(n_in).enumerate() {
                for (numbers, &value) in panel.chunks_exact_mut(width).zip(x) {
                    numbers[row] = value;
                }
            }
        }
        panels
    }

    /// The number of rows, those included that fill the last vector.
    fn n_filled(&self) -> usize {
        self.n_rows.next_multiple_of(self.lanes)
    }

    /// Rows of a panel; the last one may have fewer.
    fn widest(&self) -> usize {
        self.lanes * if self.lanes * size_of::<T>() >= 64 { WIDE } else { NARROW }
    }

    /// The panels, each with its first row.
    fn iter(&self) -> impl Iterator<Item = (usize, &[T])> {
        let widest = self.widest();
        self.data.chunks(widest * self.n_in).enumerate().map(move |(index, panel)| (index * widest, panel))
    }
}

/// Some columns of the result.
///
/// # Safety invariants
///
/// While it lives nothing else touches columns `first..` of `y`, as many as `weight` has rows.
struct Piece<'a, T> {
    rows: &'a Panels<T>,
    weight: &'a [T],
    y: Shared<'a, T>,
    n_out: usize,
    first: usize,
}

impl<T: Vectorised> WithSimd for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (n_in, n_filled) = (self.rows.n_in, self.rows.n_filled());
        let n_columns = self.weight.len() / n_in;
        let mut by_column = vec![T::zero(); n_columns.next_multiple_of(TILE) * n_filled];
        for (y, weight) in by_column.chunks_exact_mut(TILE * n_filled).zip(self.weight.chunks(TILE * n_in)) {
            // A short tile repeats its last row; what comes of it is dropped.
            let last = weight.len() / n_in - 1;
            let tile: [&[T]; TILE] = std::array::from_fn(|row| &weight[row.min(last) * n_in..][..n_in]);
            for (first, panel) in self.rows.iter() {
                let y = &mut y[first..];
                match panel.len() / (self.rows.lanes * n_in) {
                    1 => products::<T, S, 1>(simd, y, n_filled, tile, panel),
                    2 => products::<T, S, 2>(simd, y, n_filled, tile, panel),
                    3 => products::<T, S, 3>(simd, y, n_filled, tile, panel),
                    _ => products::<T, S, WIDE>(simd, y, n_filled, tile, panel),
                }
            }
        }
        self.store(&by_column, n_columns);
    }
}

impl<T: Vectorised> Piece<'_, T> {
    /// Turns the columns into parts of the result's rows.
    #[expect(unsafe_code, reason = "writes columns of a buffer that other threads write other columns of")]
    fn store(&self, by_column: &[T], n_columns: usize) {
        let n_filled = self.rows.n_filled();
        for row in 0..self.rows.n_rows {
            // SAFETY: only this piece has these columns, and this reference to a part of them is gone before the next is made.
            let y = unsafe { self.y.slice(row * self.n_out + self.first, n_columns) };
            for (value, column) in y.iter_mut().zip(by_column.chunks_exact(n_filled)) {
                *value = column[row];
            }
        }
    }
}

/// The products of a tile of the matrix with a panel of rows, `stride` from column to column of `y`.
#[inline(always)]
fn products<T: Vectorised, S: Simd, const N: usize>(
    simd: S,
    y: &mut [T],
    stride: usize,
    tile: [&[T]; TILE],
    panel: &[T],
) {
    let mut sums = [[T::splat(simd, T::zero()); N]; TILE];
    accumulate::<T, S, TILE, N>(simd, &mut sums, tile, T::vectors(simd, panel));
    let width = N * T::lanes_of(simd);
    for (y, sums) in y.chunks_mut(stride).zip(&sums) {
        T::vectors_mut(simd, &mut y[..width])[..N].copy_from_slice(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(seed: usize) -> impl Fn(usize) -> f64 {
        move |i| ((i * 37 + seed) % 101) as f64 / 50. - 1.
    }

    /// Sums in `f64`, and that no row's depend on the others.
    fn check<T: Vectorised>(n_rows: usize, n_in: usize, n_out: usize, tolerance: f64) {
        let numbers = |n: usize, seed| -> Vec<T> { (0..n).map(number(seed)).map(T::of).collect() };
        let (x, weight) = (numbers(n_rows * n_in, 5), numbers(n_out * n_in, 8));
        let y = multiply_few(&x, &weight, n_in);
        for (row, x) in x.chunks_exact(n_in).enumerate() {
            assert!(multiply_few(x, &weight, n_in) == y[row * n_out..][..n_out]);
            for (column, weight) in weight.chunks_exact(n_in).enumerate() {
                let expected: f64 = x.iter().zip(weight).map(|(a, b)| a.wide() * b.wide()).sum();
                let found = y[row * n_out + column].wide();
                assert!((found - expected).abs() < tolerance, "{n_rows} {n_in} {n_out}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn products_are_sums_of_products_whatever_the_number_of_rows() {
        for (n_rows, n_in, n_out) in
            [(1, 1, 1), (1, 33, 130), (3, 16, 65), (7, 40, 3), (16, 5, 12), (17, 9, 49), (33, 67, 64), (64, 8, 97)]
        {
            check::<f64>(n_rows, n_in, n_out, 1e-12);
            check::<f32>(n_rows, n_in, n_out, 1e-5);
        }
    }
}
