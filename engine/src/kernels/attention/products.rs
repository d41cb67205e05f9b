//! Products of a tile of queries with a block of keys, in registers.
//!
//! Numbers of queries lie along the vectors: a tile is stored in panels of two vectors of queries, `[panel, key or
//! coordinate, query of the panel]`. So a softmax over keys is a loop over rows, and nothing is summed across lanes.

use super::super::vectors::{Vectorised, accumulate};
use super::plan::Rows;
use super::{Columns, Target};
use pulp::Simd;

/// Queries of a tile; fewer of them are filled up with zeros.
pub(super) const QUERIES: usize = if cfg!(miri) { 4 } else { 64 };
/// Keys of a block: with its products it stays in the innermost cache.
pub(super) const KEYS: usize = 48;
/// The size of heads of which a vector of twice as many numbers holds two queries.
const PAIRED: usize = 8;

/// One head of consecutive rows of queries, keys, values or gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadRows<'a, T> {
    data: &'a [T],
    stride: usize,
    size: usize,
    pub(super) len: usize,
}

impl<'a, T: Vectorised> HeadRows<'a, T> {
    /// # Panics
    ///
    /// If the rows leave the matrix, or there is none.
    pub(super) fn new(data: &'a [T], columns: Columns, head: usize, rows: Rows, size: usize) -> Self {
        let last = (rows.len - 1).saturating_mul(columns.row_stride).saturating_add(size);
        Self { data: &data[columns.start(head, rows.start)..][..last], stride: columns.row_stride, size, len: rows.len }
    }

    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> &'a [T] {
        &self.data[index * self.stride..][..self.size]
    }

    /// Writes `scale` times the rows as columns: `[panel, coordinate, query]`, with zeros for missing rows.
    ///
    /// Never inlined: with vectors of sixteen numbers it becomes scatters, which are slower than single stores.
    #[inline(never)]
    pub(super) fn pack_columns<const W: usize>(&self, packed: &mut Vec<T>, scale: T) {
        packed.clear();
        packed.resize(QUERIES * self.size, T::zero());
        let in_squares = W.is_multiple_of(4) && self.size.is_multiple_of(4);
        let whole = if in_squares { self.len / 4 * 4 } else { 0 };
        for first in (0..whole).step_by(4) {
            let rows = [0, 1, 2, 3].map(|row| self.row(first + row).as_chunks::<4>().0);
            let panel = &mut packed[first / W * W * self.size..][..W * self.size];
            for (place, columns) in panel.chunks_exact_mut(4 * W).enumerate() {
                let square = rows.map(|row| row[place]);
                for (column, coordinate) in columns.chunks_exact_mut(W).zip(0..4) {
                    let numbers = [0, 1, 2, 3].map(|row| scale * square[row][coordinate]);
                    column[first % W..][..4].copy_from_slice(&numbers);
                }
            }
        }
        for index in whole..self.len {
            let panel = &mut packed[index / W * W * self.size..][..W * self.size];
            for (column, &x) in panel.chunks_exact_mut(W).zip(self.row(index)) {
                column[index % W] = scale * x;
            }
        }
    }

    /// Writes the rows for [`spread`]: in strips of `width`, `[strip, query, coordinate]`, filled up with zeros; heads of
    /// [`PAIRED`] numbers two queries in turns.
    #[inline(always)]
    pub(super) fn pack_strips<S: Simd>(&self, simd: S, packed: &mut Vec<T>, width: usize) {
        if in_pairs::<T, S>(simd, self.size) {
            return self.pack_pairs(packed);
        }
        packed.clear();
        packed.resize(QUERIES * self.size.next_multiple_of(width), T::zero());
        for index in 0..self.len {
            for (strip, x) in self.row(index).chunks(width).enumerate() {
                packed[(strip * QUERIES + index) * width..][..x.len()].copy_from_slice(x);
            }
        }
    }

    /// Writes the rows of two queries in turns, `[pair, coordinate, query of the pair]`, with zeros for missing rows.
    #[inline(always)]
    fn pack_pairs(&self, packed: &mut Vec<T>) {
        packed.clear();
        packed.resize(QUERIES * self.size, T::zero());
        for index in 0..self.len {
            let pair = &mut packed[index / 2 * 2 * self.size..][..2 * self.size];
            for (both, &x) in pair.as_chunks_mut::<2>().0.iter_mut().zip(self.row(index)) {
                both[index % 2] = x;
            }
        }
    }
}

/// Whether heads of a size have two queries in a vector.
#[inline(always)]
fn in_pairs<T: Vectorised, S: Simd>(simd: S, size: usize) -> bool {
    size == PAIRED && T::lanes_of(simd) == 2 * PAIRED
}

/// `products[panel, key, query]`: each row of `rows` times each packed column of `columns`.
#[inline(always)]
pub(super) fn across<T: Vectorised, S: Simd, const ROWS: usize, const W: usize>(
    simd: S,
    products: &mut [T],
    rows: HeadRows<'_, T>,
    columns: &[T],
) {
    for (panel, columns) in columns.chunks_exact(rows.size * W).enumerate() {
        let columns = T::vectors(simd, columns);
        let products = &mut products[panel * KEYS * W..][..rows.len * W];
        for (chunk, products) in products.chunks_mut(ROWS * W).enumerate() {
            let mut inputs = [rows.row(chunk * ROWS); ROWS];
            for (index, input) in inputs.iter_mut().enumerate() {
                *input = rows.row((chunk * ROWS + index).min(rows.len - 1));
            }
            let mut sums = [[T::splat(simd, T::zero()); 2]; ROWS];
            accumulate::<T, S, ROWS, 2>(simd, &mut sums, inputs, columns);
            for (products, sums) in T::vectors_mut(simd, products).chunks_exact_mut(2).zip(&sums) {
                products.copy_from_slice(sums);
            }
        }
    }
}

/// Adds to `sums[panel, coordinate, query]` the rows' numbers, each times its key's weight.
#[inline(always)]
pub(super) fn gather<T: Vectorised, S: Simd, const DEEP: usize, const W: usize>(
    simd: S,
    sums: &mut [T],
    rows: HeadRows<'_, T>,
    weights: &[T],
) {
    for (panel, sums) in sums.chunks_exact_mut(rows.size * W).enumerate() {
        let sums = T::vectors_mut(simd, sums);
        let weights = T::vectors(simd, &weights[panel * KEYS * W..][..rows.len * W]);
        let whole = rows.size / DEEP * DEEP;
        for first in (0..whole).step_by(DEEP) {
            gather_some::<T, S, DEEP>(simd, &mut sums[2 * first..], rows, first, weights);
        }
        for first in whole..rows.size {
            gather_some::<T, S, 1>(simd, &mut sums[2 * first..], rows, first, weights);
        }
    }
}

/// [`gather`] for `DEEP` coordinates from `first` on.
#[inline(always)]
#[expect(unsafe_code, reason = "the compiler keeps the checks of all coordinates in the innermost loop")]
fn gather_some<T: Vectorised, S: Simd, const DEEP: usize>(
    simd: S,
    sums: &mut [T::Vector<S>],
    rows: HeadRows<'_, T>,
    first: usize,
    weights: &[T::Vector<S>],
) {
    assert!(first + DEEP <= rows.size && (rows.len - 1) * rows.stride + rows.size <= rows.data.len(), "no such rows");
    let sums = &mut sums[..2 * DEEP];
    let mut local = [[sums[0]; 2]; DEEP];
    for (local, sums) in local.iter_mut().zip(sums.chunks_exact(2)) {
        local.copy_from_slice(sums);
    }
    for (key, weights) in (0..rows.len).zip(weights.chunks_exact(2)) {
        let place = key * rows.stride + first;
        for (index, local) in local.iter_mut().enumerate() {
            // SAFETY: `first + index` is below the size of a row, and the last row was checked to lie inside the data.
            let value = T::splat(simd, unsafe { *rows.data.get_unchecked(place + index) });
            for (local, &weight) in local.iter_mut().zip(weights) {
                *local = T::multiply_add(simd, value, weight, *local);
            }
        }
    }
    for (local, sums) in local.iter().zip(sums.chunks_exact_mut(2)) {
        sums.copy_from_slice(local);
    }
}

/// Adds to rows of a target, one for each key, the queries' rows in `strips` of `VECTORS`, each times its weight.
///
/// # Safety
///
/// No other reference may access these rows of this head during the call.
#[inline(always)]
#[expect(unsafe_code, reason = "writes one part of a shared matrix")]
pub(super) unsafe fn spread<T: Vectorised, S: Simd, const ROWS: usize, const W: usize, const VECTORS: usize>(
    simd: S,
    weights: &[T],
    strips: &[T],
    (target, key_head, size): (Target<'_, T>, usize, usize),
    keys: Rows,
) {
    if in_pairs::<T, S>(simd, size) {
        // SAFETY: passed on to the caller.
        return unsafe { spread_pairs::<T, S, ROWS, W>(simd, weights, strips, (target, key_head), keys) };
    }
    let width = VECTORS * T::lanes_of(simd);
    for (strip, rows) in strips.chunks_exact(QUERIES * width).enumerate() {
        let rows = T::vectors(simd, rows);
        let columns = strip * width..size.min(strip * width + width);
        for first in (0..keys.len).step_by(ROWS) {
            let some = ROWS.min(keys.len - first);
            let mut sums = [[T::splat(simd, T::zero()); VECTORS]; ROWS];
            for (panel, rows) in rows.chunks_exact(VECTORS * W).enumerate() {
                let mut inputs = [&weights[..W]; ROWS];
                for (index, input) in inputs.iter_mut().enumerate() {
                    *input = &weights[(panel * KEYS + first + index.min(some - 1)) * W..][..W];
                }
                accumulate::<T, S, ROWS, VECTORS>(simd, &mut sums, inputs, rows);
            }
            for (index, sums) in sums.iter().enumerate().take(some) {
                // SAFETY: passed on to the caller, and there is one slice at a time.
                let row = unsafe { target.row(key_head, keys.start + first + index, size) };
                add::<T, S>(simd, &mut row[columns.clone()], sums);
            }
        }
    }
}

/// [`spread`] of heads of [`PAIRED`] numbers from rows in pairs: vectors of twice that size are full, and even and odd
/// queries are added at the end.
///
/// # Safety
///
/// As of [`spread`].
#[inline(always)]
#[expect(unsafe_code, reason = "writes one part of a shared matrix")]
unsafe fn spread_pairs<T: Vectorised, S: Simd, const ROWS: usize, const W: usize>(
    simd: S,
    weights: &[T],
    pairs: &[T],
    (target, key_head): (Target<'_, T>, usize),
    keys: Rows,
) {
    let pairs = T::vectors(simd, pairs);
    for first in (0..keys.len).step_by(ROWS) {
        let some = ROWS.min(keys.len - first);
        let mut sums = [T::splat(simd, T::zero()); ROWS];
        for (panel, pairs) in pairs.chunks_exact(W / 2).enumerate() {
            // Rows of missing keys have weights of earlier blocks, and their sums are left.
            let weights = weights[(panel * KEYS + first) * W..][..ROWS * W].as_chunks::<W>().0;
            accumulate_pairs::<T, S, ROWS, W>(simd, &mut sums, weights, pairs);
        }
        for (index, &sum) in sums.iter().enumerate().take(some) {
            // SAFETY: passed on to the caller, and there is one slice at a time.
            let row = unsafe { target.row(key_head, keys.start + first + index, PAIRED) };
            let mut both = [T::zero(); 2 * PAIRED];
            T::vectors_mut(simd, &mut both)[0] = sum;
            for row in row.as_chunks_mut::<PAIRED>().0 {
                for (x, both) in row.iter_mut().zip(both.as_chunks::<2>().0) {
                    *x += both[0] + both[1];
                }
            }
        }
    }
}

/// Adds the products of rows of weights with vectors of two queries each.
#[inline(always)]
fn accumulate_pairs<T: Vectorised, S: Simd, const ROWS: usize, const W: usize>(
    simd: S,
    sums: &mut [T::Vector<S>; ROWS],
    weights: &[[T; W]],
    pairs: &[T::Vector<S>],
) {
    assert!(weights.len() == ROWS && pairs.len() == W / 2, "weights of another number of queries");
    let mut local = *sums;
    for (place, &pair) in pairs.iter().enumerate() {
        for row in 0..ROWS {
            let weight = T::splat_pair(simd, weights[row].as_chunks::<2>().0[place]);
            local[row] = T::multiply_add(simd, weight, pair, local[row]);
        }
    }
    *sums = local;
}

/// Adds vectors, or as much of them as a slice holds.
#[inline(always)]
fn add<T: Vectorised, S: Simd>(simd: S, row: &mut [T], sums: &[T::Vector<S>]) {
    let one = T::splat(simd, T::one());
    for (row, &sum) in row.chunks_mut(T::lanes_of(simd)).zip(sums) {
        let before = T::partial(simd, row);
        T::store_partial(simd, row, T::multiply_add(simd, sum, one, before));
    }
}
