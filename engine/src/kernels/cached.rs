//! Attention of single tokens over caches in blocks, for generation.
//!
//! Sequences that begin alike may have blocks in common. A block is then read once for all of them: it meets the queries of
//! all its sequences while it is near.

use super::Real;
use super::rows::{maximum, sum_of};
use super::soft_cap::soft_cap;
use super::vectors::{Vectorised, accumulate};
use crate::layout::{AttentionForm, Heads};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Tokens of a block, and numbers that lie side by side in it.
pub(crate) const BLOCK: usize = 16;
/// Sequences per piece of work: all that the answers to one prompt need, and a bound on the scores in memory.
const PIECE: usize = 16;
/// Queries whose sums are in registers together.
const TILE: usize = 4;

/// The layout of the keys and values of a block: for each key head first the keys `[coordinate, token]`, then the values
/// `[coordinate / BLOCK, token, coordinate % BLOCK]`, filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockLayout {
    key_heads: usize,
    size: usize,
}

impl BlockLayout {
    pub(crate) fn new(heads: Heads) -> Self {
        Self { key_heads: heads.key_value, size: heads.size }
    }

    /// Numbers of a token's keys, and of its values.
    pub(crate) fn width(self) -> usize {
        self.key_heads * self.size
    }

    /// Numbers of one head's keys, and of its values.
    fn parts(self) -> (usize, usize) {
        (self.size * BLOCK, self.size.next_multiple_of(BLOCK) * BLOCK)
    }

    /// Numbers of a block.
    pub(crate) fn len(self) -> usize {
        let (keys, values) = self.parts();
        self.key_heads * (keys + values)
    }

    /// The keys and the values of one head.
    fn head(self, block: &[f32], head: usize) -> (&[f32], &[f32]) {
        let (keys, values) = self.parts();
        block[head * (keys + values)..][..keys + values].split_at(keys)
    }

    /// Where a coordinate of a token's key and value is.
    fn places(self, token: usize) -> impl Iterator<Item = (usize, usize)> {
        let (keys, values) = self.parts();
        (0..self.key_heads).flat_map(move |head| {
            let start = head * (keys + values);
            let value = move |at: usize| (at / BLOCK * BLOCK + token) * BLOCK + at % BLOCK;
            (0..self.size).map(move |at| (start + at * BLOCK + token, start + keys + value(at)))
        })
    }

    /// Puts a token's keys and values, `[key heads * size]`, in their places.
    pub(crate) fn write(self, block: &mut [f32], token: usize, keys: &[f32], values: &[f32]) {
        for (place, (&key, &value)) in self.places(token).zip(keys.iter().zip(values)) {
            (block[place.0], block[place.1]) = (key, value);
        }
    }
}

/// The keys of a sequence's query: blocks in order, and the number of tokens in them.
#[derive(Clone, Debug)]
pub(crate) struct Cache<'a> {
    pub(crate) blocks: Vec<&'a [f32]>,
    pub(crate) n_tokens: usize,
    /// The first token in the query's window.
    pub(crate) first: usize,
}

impl<'a> Cache<'a> {
    /// A block and how many of its tokens are the sequence's; none where the window sees none of them.
    fn block(&self, index: usize) -> Option<(&'a [f32], usize)> {
        let n_before = index * BLOCK;
        (n_before < self.n_tokens && n_before + BLOCK > self.first)
            .then(|| (self.blocks[index], BLOCK.min(self.n_tokens - n_before)))
    }

    /// Blocks of equal places are the same.
    fn places(&self) -> impl Iterator<Item = *const f32> + '_ {
        self.blocks.iter().map(|block| block.as_ptr())
    }
}

/// One query per sequence over that sequence's keys and values; queries `[sequences, query heads * size]`.
///
/// A number does not depend on the other sequences, nor on which of them have blocks in common, to the bit.
pub(crate) fn attention(queries: &[f32], heads: Heads, form: AttentionForm, caches: &[Cache<'_>]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..caches.len()).collect();
    order.sort_by(|&a, &b| caches[a].places().cmp(caches[b].places()));
    let pieces: Vec<(&[usize], usize)> =
        order.chunks(PIECE).flat_map(|rows| (0..heads.key_value).map(move |head| (rows, head))).collect();
    let attended: Vec<Vec<f32>> = pieces
        .par_iter()
        .map(|&(rows, key_head)| Arch::new().dispatch(Piece { queries, heads, form, caches, rows, key_head }))
        .collect();
    let mut output = vec![0.; queries.len()];
    let (group, padded) = (heads.query / heads.key_value, heads.size.next_multiple_of(BLOCK));
    for ((rows, key_head), attended) in pieces.into_iter().zip(attended) {
        for (index, attended) in attended.chunks_exact(padded).enumerate() {
            let head = rows[index / group] * heads.query + key_head * group + index % group;
            output[head * heads.size..][..heads.size].copy_from_slice(&attended[..heads.size]);
        }
    }
    output
}

/// The queries of some sequences that look at one key head.
struct Piece<'a> {
    queries: &'a [f32],
    heads: Heads,
    form: AttentionForm,
    caches: &'a [Cache<'a>],
    rows: &'a [usize],
    key_head: usize,
}

impl WithSimd for Piece<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        match f32::lanes_of(simd) {
            16 => self.attend::<S, 1>(simd),
            8 => self.attend::<S, 2>(simd),
            4 => self.attend::<S, 4>(simd),
            _ => self.attend::<S, 16>(simd),
        }
    }
}

impl Piece<'_> {
    /// The attention output of each query, `[queries, size filled up]`; `VECTORS` hold [`BLOCK`] numbers.
    #[inline(always)]
    fn attend<S: Simd, const VECTORS: usize>(&self, simd: S) -> Vec<f32> {
        let n_blocks = self.rows.iter().map(|&row| self.caches[row].n_tokens.div_ceil(BLOCK)).max().unwrap_or(0);
        let mut scores = self.scores::<S, VECTORS>(simd, n_blocks);
        self.normalise(&mut scores, n_blocks * BLOCK);
        self.weighted::<S, VECTORS>(simd, &scores, n_blocks)
    }

    /// Query heads that share the key head.
    fn group(&self) -> usize {
        self.heads.query / self.heads.key_value
    }

    /// The products of queries and keys, `[queries, n_blocks * BLOCK]`.
    #[inline(always)]
    fn scores<S: Simd, const VECTORS: usize>(&self, simd: S, n_blocks: usize) -> Vec<f32> {
        let (Heads { query, size, .. }, group, width) = (self.heads, self.group(), n_blocks * BLOCK);
        let heads =
            self.rows.iter().flat_map(|row| (0..group).map(move |index| row * query + self.key_head * group + index));
        let queries: Vec<&[f32]> = heads.map(|head| &self.queries[head * size..][..size]).collect();
        let mut scores = vec![0.; queries.len() * width];
        for index in 0..n_blocks {
            self.for_runs(index, |block, _, run| {
                let keys = BlockLayout::new(self.heads).head(block, self.key_head).0;
                for (first, tile) in (run.start..).step_by(TILE).zip(queries[run].chunks(TILE)) {
                    let scores = &mut scores[first * width + index * BLOCK..];
                    add_products::<S, VECTORS>(simd, scores, width, tile, keys);
                }
            });
        }
        scores
    }

    /// The sums of values by weight, `[queries, size filled up]`.
    #[inline(always)]
    fn weighted<S: Simd, const VECTORS: usize>(&self, simd: S, weights: &[f32], n_blocks: usize) -> Vec<f32> {
        let (padded, width) = (self.heads.size.next_multiple_of(BLOCK), n_blocks * BLOCK);
        let mut output = vec![0.; self.rows.len() * self.group() * padded];
        for index in 0..n_blocks {
            self.for_runs(index, |block, n_tokens, run| {
                let values = BlockLayout::new(self.heads).head(block, self.key_head).1;
                let weights = run.clone().map(|query| &weights[query * width + index * BLOCK..][..n_tokens]);
                let weights: Vec<&[f32]> = weights.collect();
                for (first, tile) in (run.start..).step_by(TILE).zip(weights.chunks(TILE)) {
                    for (column, values) in (0..padded).step_by(BLOCK).zip(values.chunks_exact(BLOCK * BLOCK)) {
                        let output = &mut output[first * padded + column..];
                        add_products::<S, VECTORS>(simd, output, padded, tile, &values[..n_tokens * BLOCK]);
                    }
                }
            });
        }
        output
    }

    /// Scores to the weights of a softmax.
    #[inline(always)]
    fn normalise(&self, scores: &mut [f32], width: usize) {
        let group = self.group();
        let scale = self.form.scale.map_or_else(|| 1. / (self.heads.size as f32).sqrt(), |scale| scale as f32);
        // Bounded scores are scaled already.
        let rest = if self.form.cap.is_some() { 1. } else { scale };
        for (query, scores) in scores.chunks_exact_mut(width.max(1)).enumerate() {
            let cache = &self.caches[self.rows[query / group]];
            let (outside, scores) = scores[..cache.n_tokens].split_at_mut(cache.first);
            outside.fill(0.);
            if let Some(cap) = self.form.cap {
                for score in &mut *scores {
                    *score *= scale;
                }
                soft_cap(scores, cap);
            }
            let largest = maximum(scores);
            for score in &mut *scores {
                *score = (rest * (*score - largest)).exponential();
            }
            let share = 1.
                / sum_of(
                    scores,
                    #[inline(always)]
                    |x| x,
                );
            for score in scores {
                *score *= share;
            }
        }
    }

    /// Calls `f(block, tokens of it, sequences of this piece)` for the blocks at one place in the sequences, each with its run
    /// of queries.
    #[inline(always)]
    fn for_runs(&self, index: usize, mut f: impl FnMut(&[f32], usize, Range<usize>)) {
        let mut start = 0;
        while start < self.rows.len() {
            let Some((block, n_tokens)) = self.caches[self.rows[start]].block(index) else {
                start += 1;
                continue;
            };
            let same = |&&row: &&usize| {
                let other = self.caches[row].block(index);
                other.is_some_and(|(other, n)| std::ptr::eq(other, block) && n == n_tokens)
            };
            let end = start + self.rows[start..].iter().take_while(same).count();
            f(block, n_tokens, start * self.group()..end * self.group());
            start = end;
        }
    }
}

/// Adds the products of up to [`TILE`] rows with a matrix `[width, BLOCK]` to rows of `sums` that begin `stride` apart.
#[inline(always)]
fn add_products<S: Simd, const VECTORS: usize>(
    simd: S,
    sums: &mut [f32],
    stride: usize,
    rows: &[&[f32]],
    matrix: &[f32],
) {
    if let Ok(rows) = <[&[f32]; TILE]>::try_from(rows) {
        return add_tile::<S, VECTORS, TILE>(simd, sums, stride, rows, matrix);
    }
    for (row, sums) in rows.iter().zip(sums.chunks_mut(stride)) {
        add_tile::<S, VECTORS, 1>(simd, sums, stride, [row], matrix);
    }
}

#[inline(always)]
fn add_tile<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    sums: &mut [f32],
    stride: usize,
    rows: [&[f32]; ROWS],
    matrix: &[f32],
) {
    let mut local = [[simd.splat_f32s(0.); VECTORS]; ROWS];
    for (local, sums) in local.iter_mut().zip(sums.chunks(stride)) {
        local.copy_from_slice(f32::vectors(simd, &sums[..BLOCK]));
    }
    accumulate::<f32, S, ROWS, VECTORS>(simd, &mut local, rows, f32::vectors(simd, matrix));
    for (local, sums) in local.iter().zip(sums.chunks_mut(stride)) {
        f32::vectors_mut(simd, &mut sums[..BLOCK]).copy_from_slice(local);
    }
}
