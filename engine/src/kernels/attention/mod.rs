//! Attention, tile by tile of queries.
//!
//! A task of the backward pass is one group of tiles and one key head: it writes rows of that group in columns of that
//! head only, in a fixed order; a task of the forward pass is a tile and a query head. That tasks write disjoint
//! elements follows from [`Plan`] for rows and [`check_apart`] for columns. The backward pass recomputes each tile of
//! probabilities from the normalisers of the forward pass.

mod plan;
#[cfg(test)]
mod tests;

use super::Real;
use super::gemm::{Into, Shared, Threads, View, ViewMut, multiply};
use super::parallel::simd;
use super::rows::{maximum, sum_of, sum_of_pairs};
use super::soft_cap::{cap_slopes, soft_cap};
use crate::layout::{AttentionForm, Heads};
use plan::{Rows, Tile};
use rayon::prelude::*;

pub(crate) use plan::Plan;

/// Where the heads of queries, keys or values lie in a row-major matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) offset: usize,
    pub(crate) head_stride: usize,
    pub(crate) row_stride: usize,
}

impl Columns {
    /// The first number of a head in a row; an out-of-bounds index on overflow.
    fn start(self, head: usize, row: usize) -> usize {
        let column = head.saturating_mul(self.head_stride).saturating_add(self.offset);
        row.saturating_mul(self.row_stride).saturating_add(column)
    }
}

/// Queries, keys or values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) columns: Columns,
}

impl<'a, T: Real> Operand<'a, T> {
    fn view(self, head: usize, rows: Rows, size: usize) -> View<'a, T> {
        View::strided(self.data, self.columns.start(head, rows.start), rows.len, size, self.columns.row_stride)
    }

    fn row(self, head: usize, row: usize, size: usize) -> &'a [T] {
        &self.data[self.columns.start(head, row)..][..size]
    }
}

/// A gradient buffer of queries, keys or values, which may be shared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a, T> {
    pub(crate) data: Shared<'a, T>,
    pub(crate) columns: Columns,
}

impl<'a, T: Real> Target<'a, T> {
    /// # Safety
    ///
    /// No other reference may access these rows of this head while the view lives.
    #[expect(unsafe_code, reason = "tasks write disjoint parts of one matrix")]
    unsafe fn view(self, head: usize, rows: Rows, size: usize) -> ViewMut<'a, T> {
        let start = self.columns.start(head, rows.start);
        // SAFETY: passed on to the caller.
        unsafe { self.data.view(start, rows.len, size, self.columns.row_stride) }
    }
}

/// Attention of all heads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a, T> {
    pub(crate) queries: Operand<'a, T>,
    pub(crate) keys: Operand<'a, T>,
    pub(crate) values: Operand<'a, T>,
    pub(crate) heads: Heads,
    /// The form of the scores; its window is the plan's.
    pub(crate) form: AttentionForm,
    pub(crate) plan: &'a Plan,
}

/// Logarithms of the sums of exponentials of each tile's rows, by tile and query head.
pub(crate) type Normalisers<T> = Vec<Vec<T>>;

impl<T: Real> Attention<'_, T> {
    fn scale(&self) -> T {
        T::of(self.form.scale.unwrap_or_else(|| 1. / (self.heads.size as f64).sqrt()))
    }

    fn output_columns(&self) -> Columns {
        Columns { offset: 0, head_stride: self.heads.size, row_stride: self.heads.query * self.heads.size }
    }

    /// Query heads of a key head.
    fn group(&self, key_head: usize) -> std::ops::Range<usize> {
        let group = self.heads.query / self.heads.key_value;
        key_head * group..(key_head + 1) * group
    }

    /// Result `[T, query * size]` and normalisers.
    #[expect(unsafe_code, reason = "tasks write disjoint parts of one matrix")]
    pub(crate) fn forward(&self) -> (Vec<T>, Normalisers<T>) {
        let Heads { query, key_value, size } = self.heads;
        let mut output = vec![T::zero(); self.plan.n_queries * query * size];
        let target = Target { data: Shared::new(&mut output), columns: self.output_columns() };
        let tiles: Vec<&Tile> = self.plan.groups().iter().flatten().collect();
        let tasks = (0..tiles.len() * query).into_par_iter();
        let normalisers = tasks
            .map_init(Vec::new, |scores, task| {
                let (tile, head) = (tiles[task / query], task % query);
                let key_head = head / (query / key_value);
                self.scores(scores, tile, head, key_head);
                let mut normalisers = Vec::with_capacity(tile.queries.len);
                normalise(scores, tile, &mut normalisers);
                // SAFETY: no other tile has these queries, no other task this tile and head, and `output_columns` keeps
                // heads apart.
                unsafe { self.weighted(scores, tile, self.values, target, head, key_head) };
                normalisers
            })
            .collect();
        (output, normalisers)
    }

    /// `scores = scale Q K^T`, `[queries, visible keys]`, softly bounded where there is a cap.
    fn scores(&self, scores: &mut Vec<T>, tile: &Tile, head: usize, key_head: usize) {
        let queries = self.queries.view(head, tile.queries, self.heads.size);
        self.products(scores, tile, queries, self.keys, key_head, self.scale());
        if let Some(cap) = self.form.cap {
            soft_cap(scores, cap);
        }
    }

    /// The slopes of the soft bound at bounded scores; none without a cap.
    fn bends(&self, bends: &mut Vec<T>, scores: &[T]) {
        bends.clear();
        if let Some(cap) = self.form.cap {
            bends.extend_from_slice(scores);
            cap_slopes(bends, cap);
        }
    }

    /// `result = scale left right^T`, right being keys or values of all visible rows.
    fn products(
        &self,
        result: &mut Vec<T>,
        tile: &Tile,
        left: View<'_, T>,
        right: Operand<'_, T>,
        key_head: usize,
        scale: T,
    ) {
        let n = tile.queries.len;
        result.resize(n * tile.n_seen, T::zero());
        for (column, rows) in tile.runs() {
            let part = ViewMut::strided(result, column, n, rows.len, tile.n_seen);
            let right = right.view(key_head, rows, self.heads.size).t();
            multiply(part, Into::Replace, scale, left, right, Threads::One);
        }
    }

    /// `target rows = weights right`, right being keys or values of all visible rows.
    ///
    /// # Safety
    ///
    /// No other reference may access the rows of the tile's queries in this head of the target during the call.
    #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
    unsafe fn weighted(
        &self,
        weights: &[T],
        tile: &Tile,
        right: Operand<'_, T>,
        target: Target<'_, T>,
        head: usize,
        key_head: usize,
    ) {
        let size = self.heads.size;
        let mut into = Into::Replace;
        for (column, rows) in tile.runs() {
            // SAFETY: by the caller's contract no one else has these rows, and there is one view at a time.
            let result = unsafe { target.view(head, tile.queries, size) };
            let weights = View::strided(weights, column, tile.queries.len, rows.len, tile.n_seen);
            multiply(result, into, T::one(), weights, right.view(key_head, rows, size), Threads::One);
            into = Into::Add;
        }
    }

    /// Writes gradients of queries, keys and values into zeroed targets, where given.
    ///
    /// # Panics
    ///
    /// If heads of the targets share columns.
    #[expect(unsafe_code, reason = "tasks write disjoint parts of the targets")]
    pub(crate) fn backward(
        &self,
        output: &[T],
        normalisers: &Normalisers<T>,
        gradient: &[T],
        targets: [Option<Target<'_, T>>; 3],
    ) {
        check_apart(targets, self.heads);
        let [output, gradient] = [output, gradient].map(|data| Operand { data, columns: self.output_columns() });
        let (groups, key_heads) = (self.plan.groups(), self.heads.key_value);
        let firsts = groups.iter().scan(0, |first, group| {
            *first += group.len();
            Some(*first - group.len())
        });
        let firsts: Vec<usize> = firsts.collect();
        (0..groups.len() * key_heads).into_par_iter().for_each(|task| {
            let (group, key_head) = (task / key_heads, task % key_heads);
            let (mut weights, mut bends, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
            for head in self.group(key_head) {
                for (index, tile) in groups[group].iter().enumerate() {
                    let normalisers = &normalisers[(firsts[group] + index) * self.heads.query + head];
                    self.scores(&mut weights, tile, head, key_head);
                    self.bends(&mut bends, &weights);
                    exponentiate(&mut weights, tile, normalisers);
                    let probabilities = Probabilities { weights: &weights, bends: &bends };
                    // SAFETY: no other group has these queries or sees these keys, no other task has this group and
                    // this key head or a query head that reads it, and `check_apart` has verified that heads are
                    // disjoint.
                    unsafe {
                        self.backward_tile(probabilities, &mut slopes, tile, output, gradient, targets, head, key_head);
                    }
                }
            }
        });
    }

    /// Adds the gradients of a tile with these probabilities.
    ///
    /// # Safety
    ///
    /// No other reference may access the rows of the tile's queries in `head` of the first target during the call, nor
    /// the rows visible to it in `key_head` of the others.
    #[expect(unsafe_code, reason = "writes parts of shared matrices")]
    #[expect(clippy::too_many_arguments, reason = "all that the tiles of a task share, and the tile")]
    unsafe fn backward_tile(
        &self,
        probabilities: Probabilities<'_, T>,
        slopes: &mut Vec<T>,
        tile: &Tile,
        output: Operand<'_, T>,
        gradient: Operand<'_, T>,
        [to_queries, to_keys, to_values]: [Option<Target<'_, T>>; 3],
        head: usize,
        key_head: usize,
    ) {
        let upstream = gradient.view(head, tile.queries, self.heads.size);
        if let Some(target) = to_values {
            // SAFETY: passed on to the caller.
            unsafe { self.spread(probabilities.weights, tile, upstream, target, key_head) };
        }
        if to_queries.is_none() && to_keys.is_none() {
            return;
        }
        self.products(slopes, tile, upstream, self.values, key_head, T::one());
        self.score_slopes(slopes, probabilities, tile, output, gradient, head);
        if let Some(target) = to_queries {
            // SAFETY: passed on to the caller.
            unsafe { self.weighted(slopes, tile, self.keys, target, head, key_head) };
        }
        if let Some(target) = to_keys {
            let queries = self.queries.view(head, tile.queries, self.heads.size);
            // SAFETY: passed on to the caller.
            unsafe { self.spread(slopes, tile, queries, target, key_head) };
        }
    }

    /// `slopes = scale weights (slopes - rowsum(output gradient))`: back through the softmax, and the soft bound.
    fn score_slopes(
        &self,
        slopes: &mut [T],
        Probabilities { weights, bends }: Probabilities<'_, T>,
        tile: &Tile,
        output: Operand<'_, T>,
        gradient: Operand<'_, T>,
        head: usize,
    ) {
        let (size, scale) = (self.heads.size, self.scale());
        simd(
            #[inline(always)]
            || {
                let rows = slopes.chunks_exact_mut(tile.n_seen).zip(weights.chunks_exact(tile.n_seen));
                for (index, (slopes, weights)) in rows.enumerate() {
                    let row = tile.queries.start + index;
                    let (output, gradient) = (output.row(head, row, size), gradient.row(head, row, size));
                    let level = sum_of_pairs(
                        output,
                        gradient,
                        #[inline(always)]
                        |a, b| a * b,
                    );
                    for (slope, &weight) in slopes.iter_mut().zip(weights) {
                        *slope = scale * weight * (*slope - level);
                    }
                }
                for (slope, &bend) in slopes.iter_mut().zip(bends) {
                    *slope *= bend;
                }
            },
        );
    }

    /// Adds `weights^T left` to the visible rows of a target.
    ///
    /// # Safety
    ///
    /// No other reference may access the rows visible to the tile in this head of the target during the call.
    #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
    unsafe fn spread(&self, weights: &[T], tile: &Tile, left: View<'_, T>, target: Target<'_, T>, key_head: usize) {
        for (column, rows) in tile.runs() {
            // SAFETY: by the caller's contract no one else has these rows, and there is one view at a time.
            let result = unsafe { target.view(key_head, rows, self.heads.size) };
            let weights = View::strided(weights, column, tile.queries.len, rows.len, tile.n_seen);
            multiply(result, Into::Add, T::one(), weights.t(), left, Threads::One);
        }
    }
}

/// A tile of attention's weights, and the slopes of the soft bound of its scores.
#[derive(Debug, Clone, Copy)]
struct Probabilities<'a, T> {
    weights: &'a [T],
    /// Empty without a cap.
    bends: &'a [T],
}

/// Panics unless all heads of the targets have disjoint columns.
fn check_apart<T: Real>(targets: [Option<Target<'_, T>>; 3], heads: Heads) {
    let mut places = Vec::new();
    for (target, n_heads) in targets.iter().zip([heads.query, heads.key_value, heads.key_value]) {
        let Some(Target { data, columns }) = target else { continue };
        let Some(buffer) = data.place() else { continue };
        places.extend((0..n_heads).map(|head| (buffer, columns.row_stride, columns.start(head, 0))));
    }
    places.sort_unstable();
    for (index, &(buffer, row_stride, start)) in places.iter().enumerate() {
        let end = match places.get(index + 1) {
            Some(&(next_buffer, next_stride, next)) if next_buffer == buffer => {
                assert!(next_stride == row_stride, "gradients in one buffer have rows of two lengths");
                next
            }
            _ => row_stride,
        };
        assert!(start.saturating_add(heads.size) <= end, "heads of gradients share columns");
    }
}

/// Scores to probabilities, 0 for keys that their query does not see; appends `log(sum of exponentials)` of each row.
fn normalise<T: Real>(scores: &mut [T], tile: &Tile, normalisers: &mut Vec<T>) {
    simd(
        #[inline(always)]
        || {
            for (index, row) in scores.chunks_exact_mut(tile.n_seen).enumerate() {
                let columns = tile.visible(index);
                row[..columns.start].fill(T::zero());
                row[columns.end..].fill(T::zero());
                let visible = &mut row[columns];
                let largest = maximum(visible);
                for x in visible.iter_mut() {
                    *x = (*x - largest).exponential();
                }
                let sum = sum_of(
                    visible,
                    #[inline(always)]
                    |x| x,
                );
                let share = T::one() / sum;
                for x in visible.iter_mut() {
                    *x *= share;
                }
                normalisers.push(T::of(largest.wide() + sum.wide().ln()));
            }
        },
    );
}

/// Scores to probabilities by known normalisers.
fn exponentiate<T: Real>(scores: &mut [T], tile: &Tile, normalisers: &[T]) {
    simd(
        #[inline(always)]
        || {
            for (index, (row, &normaliser)) in scores.chunks_exact_mut(tile.n_seen).zip(normalisers).enumerate() {
                let columns = tile.visible(index);
                row[..columns.start].fill(T::zero());
                row[columns.end..].fill(T::zero());
                for x in &mut row[columns] {
                    *x = (*x - normaliser).exponential();
                }
            }
        },
    );
}
