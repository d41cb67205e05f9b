//! The forward pass of a tile: a softmax whose largest score and sum follow the blocks of keys.

use super::super::Vectorised;
use super::blocks::{blocks, panels, scores};
use super::plan::Tile;
use super::products::{KEYS, QUERIES, gather};
use super::{Attention, Target};
use pulp::{Arch, Simd, WithSimd};

/// Writes the result of a tile's queries in a head, and returns the logarithms of their sums of exponentials.
///
/// `heads` are the query head and its key head.
///
/// # Safety
///
/// No other reference may access the rows of the tile's queries in this head of the target during the call.
#[expect(unsafe_code, reason = "writes one part of a shared matrix")]
pub(super) unsafe fn attend<T: Vectorised>(
    attention: &Attention<'_, T>,
    tile: &Tile,
    heads: [usize; 2],
    target: Target<'_, T>,
    buffers: &mut Vec<Vec<T>>,
) -> Vec<T> {
    buffers.resize_with(3, Vec::new);
    Arch::new().dispatch(Forward { attention, tile, heads, target, buffers })
}

/// # Safety invariants
///
/// While it lives no other reference accesses the rows of the tile's queries in this head of the target.
struct Forward<'a, T> {
    attention: &'a Attention<'a, T>,
    tile: &'a Tile,
    heads: [usize; 2],
    target: Target<'a, T>,
    buffers: &'a mut [Vec<T>],
}

/// The softmax of a panel's queries so far.
struct Running<T, const W: usize> {
    largest: [T; W],
    sum: [T; W],
}

impl<T: Vectorised> WithSimd for Forward<'_, T> {
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        match (T::lanes_of(simd), T::lanes_of(simd) * size_of::<T>() >= 64) {
            (16, _) => self.compute::<S, 12, 8, 32>(simd),
            (8, true) => self.compute::<S, 12, 8, 16>(simd),
            (8, false) => self.compute::<S, 4, 4, 16>(simd),
            (4, _) => self.compute::<S, 4, 4, 8>(simd),
            (2, _) => self.compute::<S, 4, 4, 4>(simd),
            (1, _) => self.compute::<S, 4, 4, 2>(simd),
            (lanes, _) => unreachable!("vectors of {lanes} numbers"),
        }
    }
}

impl<T: Vectorised> Forward<'_, T> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize, const DEEP: usize, const W: usize>(self, simd: S) -> Vec<T> {
        let Self { attention, tile, heads: [head, key_head], target, buffers } = self;
        let [queries, products, sums] = buffers else { unreachable!("three buffers") };
        let size = attention.heads.size;
        attention.queries.rows(head, tile.queries, size).pack_columns::<W>(queries, attention.scale());
        products.resize(QUERIES * KEYS, T::zero());
        sums.clear();
        sums.resize(QUERIES * size, T::zero());
        let mut running = Vec::with_capacity(QUERIES / W);
        running.resize_with(QUERIES / W, Running::<T, W>::new);
        for block in blocks(tile) {
            scores::<T, S, ROWS, W>(simd, attention, products, tile, block, key_head, queries);
            let of_panel = panels(products, block.keys.len, W).zip(sums.chunks_exact_mut(size * W));
            for ((scores, sums), running) in of_panel.zip(&mut running) {
                running.follow(simd, scores, sums);
            }
            gather::<T, S, DEEP, W>(simd, sums, attention.values.rows(key_head, block.keys, size), products);
        }
        for query in 0..tile.queries.len {
            let share = T::one() / running[query / W].sum[query % W];
            let sums = sums[query / W * W * size..].chunks_exact(W).map(|column| column[query % W]);
            // SAFETY: by the invariant of `Forward`, and there is one slice at a time.
            #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
            let row = unsafe { target.row(head, tile.queries.start + query, size) };
            row.iter_mut().zip(sums).for_each(|(row, sum)| *row = sum * share);
        }
        let normaliser = |running: &Running<T, W>, query: usize| {
            T::of(running.largest[query].wide() + running.sum[query].wide().ln())
        };
        (0..tile.queries.len).map(|query| normaliser(&running[query / W], query % W)).collect()
    }
}

impl<T: Vectorised, const W: usize> Running<T, W> {
    fn new() -> Self {
        Self { largest: [T::of(f64::NEG_INFINITY); W], sum: [T::zero(); W] }
    }

    /// Turns a block's scores into exponentials, and scales earlier sums where a score is larger than all before.
    ///
    /// Numbers that follow the keys are vectors: of an array the compiler makes single numbers.
    #[inline(always)]
    fn follow<S: Simd>(&mut self, simd: S, scores: &mut [T], sums: &mut [T]) {
        let before = self.largest;
        let largest = T::vectors_mut(simd, &mut self.largest);
        let [mut first, mut second] = [largest[0], largest[1]];
        for row in T::vectors(simd, scores).as_chunks::<2>().0 {
            first = T::larger_of(simd, row[0], first);
            second = T::larger_of(simd, row[1], second);
        }
        largest.copy_from_slice(&[first, second]);
        // A query that has seen no key yet has weights of 0.
        let mut level = self.largest;
        for level in &mut level {
            *level = if *level == T::of(f64::NEG_INFINITY) { T::zero() } else { *level };
        }
        if before != self.largest {
            let mut factors = before;
            for query in 0..W {
                factors[query] = (before[query] - level[query]).falling_exponential();
            }
            let factors = T::vectors(simd, &factors);
            for sums in [&mut self.sum, sums] {
                for row in T::vectors_mut(simd, sums).as_chunks_mut::<2>().0 {
                    *row = [T::times(simd, row[0], factors[0]), T::times(simd, row[1], factors[1])];
                }
            }
        }
        let level = T::vectors(simd, &level);
        for row in T::vectors_mut(simd, scores).as_chunks_mut::<2>().0 {
            *row = [T::minus(simd, row[0], level[0]), T::minus(simd, row[1], level[1])];
        }
        for score in &mut *scores {
            *score = score.falling_exponential();
        }
        let sum = T::vectors_mut(simd, &mut self.sum);
        let [mut first, mut second] = [sum[0], sum[1]];
        for row in T::vectors(simd, scores).as_chunks::<2>().0 {
            first = T::plus(simd, first, row[0]);
            second = T::plus(simd, second, row[1]);
        }
        sum.copy_from_slice(&[first, second]);
    }
}
