//! Attention over prefix forests, block by block of queries.
//!
//! A task is one tree and one key head: it reads and writes rows of that tree in columns of that head only, in a fixed
//! order. The backward pass computes each block of probabilities again from the normalisers of the forward pass.

use super::Real;
use super::gemm::{Into, Shared, Threads, View, ViewMut, multiply};
use super::parallel::simd;
use super::rows::{maximum, sum_of, sum_of_pairs};
use crate::ops::{Forest, Heads};
use rayon::prelude::*;

/// Queries per block.
const BLOCK: usize = 64;

/// Where the heads of queries, keys or values lie in a row-major matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) offset: usize,
    pub(crate) head_stride: usize,
    pub(crate) row_stride: usize,
}

impl Columns {
    fn start(self, head: usize, row: usize) -> usize {
        row * self.row_stride + self.offset + head * self.head_stride
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

/// A place for gradients of queries, keys or values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a, T> {
    pub(crate) data: Shared<'a, T>,
    pub(crate) columns: Columns,
}

impl<'a, T: Real> Target<'a, T> {
    /// # Safety
    ///
    /// Nobody else may touch these rows of this head while the view lives.
    #[expect(unsafe_code, reason = "tasks write disjoint parts of one matrix")]
    unsafe fn view(self, head: usize, rows: Rows, size: usize) -> ViewMut<'a, T> {
        let start = self.columns.start(head, rows.start);
        // SAFETY: passed on to the caller.
        unsafe { self.data.view(start, rows.len, size, self.columns.row_stride) }
    }
}

/// Consecutive packed rows.
#[derive(Debug, Clone, Copy)]
struct Rows {
    start: usize,
    len: usize,
}

/// A block of queries: its rows, and the runs of rows that they see, their own last.
#[derive(Debug)]
struct Block {
    queries: Rows,
    seen: Vec<Rows>,
    n_seen: usize,
}

impl Block {
    /// Number of keys that query `index` of the block sees.
    fn n_visible(&self, index: usize) -> usize {
        self.n_seen - self.queries.len + index + 1
    }

    /// Runs with the column at which each starts in a matrix of scores.
    fn runs(&self) -> impl Iterator<Item = (usize, Rows)> {
        self.seen.iter().scan(0, |column, &rows| {
            let start = *column;
            *column += rows.len;
            Some((start, rows))
        })
    }
}

/// The blocks of each tree, in order.
fn trees(forest: &Forest) -> Vec<Vec<Block>> {
    let mut trees: Vec<Vec<Block>> = Vec::new();
    let mut tree_of = Vec::with_capacity(forest.segments.len());
    for (index, segment) in forest.segments.iter().enumerate() {
        let tree = segment.parent.map_or(trees.len(), |parent| tree_of[parent]);
        tree_of.push(tree);
        if tree == trees.len() {
            trees.push(Vec::new());
        }
        let path = forest.path(index);
        let above = path[..path.len() - 1].iter().map(|&s| &forest.segments[s]);
        let above: Vec<Rows> = above.filter(|s| s.len > 0).map(|s| Rows { start: s.start, len: s.len }).collect();
        for first in (0..segment.len).step_by(BLOCK) {
            let len = BLOCK.min(segment.len - first);
            let mut seen = above.clone();
            seen.push(Rows { start: segment.start, len: first + len });
            let n_seen = seen.iter().map(|rows| rows.len).sum();
            trees[tree].push(Block { queries: Rows { start: segment.start + first, len }, seen, n_seen });
        }
    }
    trees
}

/// Attention of all heads over a forest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a, T> {
    pub(crate) queries: Operand<'a, T>,
    pub(crate) keys: Operand<'a, T>,
    pub(crate) values: Operand<'a, T>,
    pub(crate) heads: Heads,
    pub(crate) forest: &'a Forest,
}

/// A row's largest score and the logarithm of its sum of exponentials, by query head and row.
pub(crate) type Normalisers<T> = Vec<T>;

impl<T: Real> Attention<'_, T> {
    fn scale(&self) -> T {
        T::of(1. / (self.heads.size as f64).sqrt())
    }

    fn output_columns(&self) -> Columns {
        Columns { offset: 0, head_stride: self.heads.size, row_stride: self.heads.query * self.heads.size }
    }

    /// Query heads that read a key head.
    fn group(&self, key_head: usize) -> std::ops::Range<usize> {
        let group = self.heads.query / self.heads.key_value;
        key_head * group..(key_head + 1) * group
    }

    /// Result `[T, query * size]` and normalisers `[query, T]`.
    pub(crate) fn forward(&self) -> (Vec<T>, Normalisers<T>) {
        let n_rows = self.forest.n_rows();
        let mut output = vec![T::zero(); n_rows * self.heads.query * self.heads.size];
        let target = Target { data: Shared::new(&mut output), columns: self.output_columns() };
        let trees = trees(self.forest);
        let tasks = trees.len() * self.heads.key_value;
        let parts: Vec<Vec<T>> = (0..tasks)
            .into_par_iter()
            .map(|task| {
                let (blocks, key_head) = (&trees[task / self.heads.key_value], task % self.heads.key_value);
                let mut scores = Vec::new();
                let mut normalisers = Vec::new();
                for head in self.group(key_head) {
                    for block in blocks {
                        self.scores(&mut scores, block, head, key_head);
                        normalise(&mut scores, block, &mut normalisers);
                        self.combine(&scores, block, target, head, key_head);
                    }
                }
                normalisers
            })
            .collect();
        let mut normalisers = vec![T::zero(); self.heads.query * n_rows];
        for (task, part) in parts.iter().enumerate() {
            let (blocks, key_head) = (&trees[task / self.heads.key_value], task % self.heads.key_value);
            let mut rest = &part[..];
            for head in self.group(key_head) {
                for block in blocks {
                    let (own, others) = rest.split_at(block.queries.len);
                    normalisers[head * n_rows + block.queries.start..][..own.len()].copy_from_slice(own);
                    rest = others;
                }
            }
        }
        (output, normalisers)
    }

    /// `scores = scale Q K^T`, `[queries, seen]`.
    fn scores(&self, scores: &mut Vec<T>, block: &Block, head: usize, key_head: usize) {
        self.products(
            scores,
            block,
            self.queries.view(head, block.queries, self.heads.size),
            self.keys,
            key_head,
            self.scale(),
        );
    }

    /// `result = scale left right^T`, right being keys or values of all seen rows.
    fn products(
        &self,
        result: &mut Vec<T>,
        block: &Block,
        left: View<'_, T>,
        right: Operand<'_, T>,
        key_head: usize,
        scale: T,
    ) {
        let n = block.queries.len;
        result.resize(n * block.n_seen, T::zero());
        for (column, rows) in block.runs() {
            let part = ViewMut::strided(result, column, n, rows.len, block.n_seen);
            let right = right.view(key_head, rows, self.heads.size).t();
            multiply(part, Into::Replace, scale, left, right, Threads::One);
        }
    }

    /// Rows of a block's result: `weights V`.
    fn combine(&self, weights: &[T], block: &Block, target: Target<'_, T>, head: usize, key_head: usize) {
        self.weighted(weights, block, self.values, target, head, key_head);
    }

    /// `target rows = weights right`, right being keys or values of all seen rows.
    #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
    fn weighted(
        &self,
        weights: &[T],
        block: &Block,
        right: Operand<'_, T>,
        target: Target<'_, T>,
        head: usize,
        key_head: usize,
    ) {
        let size = self.heads.size;
        let mut into = Into::Replace;
        for (column, rows) in block.runs() {
            // SAFETY: only this task writes these rows (of its tree) and this head (of its group), one view at a time.
            let result = unsafe { target.view(head, block.queries, size) };
            let weights = View::strided(weights, column, block.queries.len, rows.len, block.n_seen);
            multiply(result, into, T::one(), weights, right.view(key_head, rows, size), Threads::One);
            into = Into::Add;
        }
    }

    /// Writes gradients of queries, keys and values into zeroed targets.
    pub(crate) fn backward(&self, output: &[T], normalisers: &[T], gradient: &[T], targets: [Target<'_, T>; 3]) {
        let trees = trees(self.forest);
        let gradient = Operand { data: gradient, columns: self.output_columns() };
        let output = Operand { data: output, columns: self.output_columns() };
        let tasks = trees.len() * self.heads.key_value;
        (0..tasks).into_par_iter().for_each(|task| {
            let (blocks, key_head) = (&trees[task / self.heads.key_value], task % self.heads.key_value);
            let (mut weights, mut slopes) = (Vec::new(), Vec::new());
            for head in self.group(key_head) {
                for block in blocks {
                    let place = head * self.forest.n_rows() + block.queries.start;
                    self.scores(&mut weights, block, head, key_head);
                    exponentiate(&mut weights, block, &normalisers[place..][..block.queries.len]);
                    let upstream = gradient.view(head, block.queries, self.heads.size);
                    self.products(&mut slopes, block, upstream, self.values, key_head, T::one());
                    self.score_slopes(&mut slopes, &weights, block, output, gradient, head);
                    self.weighted(&slopes, block, self.keys, targets[0], head, key_head);
                    let queries = self.queries.view(head, block.queries, self.heads.size);
                    self.spread(&slopes, block, queries, targets[1], key_head);
                    self.spread(&weights, block, upstream, targets[2], key_head);
                }
            }
        });
    }

    /// `slopes = scale weights (slopes - rowsum(output gradient))`: back through the softmax.
    fn score_slopes(
        &self,
        slopes: &mut [T],
        weights: &[T],
        block: &Block,
        output: Operand<'_, T>,
        gradient: Operand<'_, T>,
        head: usize,
    ) {
        let (size, scale) = (self.heads.size, self.scale());
        simd(
            #[inline(always)]
            || {
                let rows = slopes.chunks_exact_mut(block.n_seen).zip(weights.chunks_exact(block.n_seen));
                for (index, (slopes, weights)) in rows.enumerate() {
                    let row = block.queries.start + index;
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
            },
        );
    }

    /// Adds `weights^T left` to the seen rows of a target.
    #[expect(unsafe_code, reason = "writes one part of a shared matrix")]
    fn spread(&self, weights: &[T], block: &Block, left: View<'_, T>, target: Target<'_, T>, key_head: usize) {
        for (column, rows) in block.runs() {
            // SAFETY: only this task writes these rows (of its tree) and this key head, one view at a time.
            let result = unsafe { target.view(key_head, rows, self.heads.size) };
            let weights = View::strided(weights, column, block.queries.len, rows.len, block.n_seen);
            multiply(result, Into::Add, T::one(), weights.t(), left, Threads::One);
        }
    }
}

/// Scores to probabilities, 0 for keys after their query; appends `log(sum of exponentials)` of each row.
fn normalise<T: Real>(scores: &mut [T], block: &Block, normalisers: &mut Vec<T>) {
    simd(
        #[inline(always)]
        || {
            for (index, row) in scores.chunks_exact_mut(block.n_seen).enumerate() {
                let (visible, hidden) = row.split_at_mut(block.n_visible(index));
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
                hidden.fill(T::zero());
                normalisers.push(T::of(largest.wide() + sum.wide().ln()));
            }
        },
    );
}

/// Scores to probabilities by known normalisers.
fn exponentiate<T: Real>(scores: &mut [T], block: &Block, normalisers: &[T]) {
    simd(
        #[inline(always)]
        || {
            for (index, (row, &normaliser)) in scores.chunks_exact_mut(block.n_seen).zip(normalisers).enumerate() {
                let (visible, hidden) = row.split_at_mut(block.n_visible(index));
                for x in visible {
                    *x = (*x - normaliser).exponential();
                }
                hidden.fill(T::zero());
            }
        },
    );
}
