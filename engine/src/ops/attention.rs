//! Causal attention over prefix forests, and over caches when generating.

use super::{Forest, composed};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// Numbers of attention heads and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; query head `h` reads head `h / (query / key_value)`.
    pub key_value: usize,
    /// Coordinates per head.
    pub size: usize,
}

/// How queries, keys and values share the columns of one projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvLayout {
    /// GPT-NeoX: for each head its query, its key, its value. Needs as many key as query heads.
    PerHead,
    /// GPT-2: all queries, then all keys, then all values.
    Blocks,
}

impl Heads {
    pub(crate) fn check(self, forest: &Forest, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<()> {
        if self.key_value == 0 || self.query % self.key_value != 0 {
            bail!("{} query heads cannot share {} key heads", self.query, self.key_value);
        }
        let (n_rows, query, keys) = (forest.n_rows(), self.query * self.size, self.key_value * self.size);
        if q.dims() != [n_rows, query] || k.dims() != [n_rows, keys] || v.dims() != [n_rows, keys] {
            let (q, k, v) = (q.dims(), k.dims(), v.dims());
            bail!("attention over {n_rows} rows and {self:?} got q {q:?}, k {k:?}, v {v:?}");
        }
        forest.check()
    }

    pub(crate) fn check_packed(self, forest_rows: usize, qkv: &Tensor, layout: QkvLayout) -> Result<()> {
        let width = (self.query + 2 * self.key_value) * self.size;
        if qkv.dims() != [forest_rows, width] {
            bail!("packed projection over {forest_rows} rows and {self:?} is {:?}", qkv.dims());
        }
        if layout == QkvLayout::PerHead && self.query != self.key_value {
            bail!("packing by head needs a key head for each of {} query heads", self.query);
        }
        Ok(())
    }
}

/// Scaled dot-product attention in which each token sees itself, the tokens before it in its segment and all tokens of
/// the segment's ancestors; the scale is `1 / sqrt(size)`.
///
/// # Shapes
///
/// `q` and the result `[T, query * size]`, `k` and `v` `[T, key_value * size]`, T = `forest.n_rows()`.
pub fn forest_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, forest: &Arc<Forest>) -> Result<Tensor> {
    composed::forest_attention(q, k, v, heads, forest)
}

/// [`forest_attention`] on one packed projection, without splitting it.
///
/// # Shapes
///
/// `qkv` `[T, (query + 2 key_value) * size]`, result `[T, query * size]`.
pub fn forest_attention_packed(qkv: &Tensor, heads: Heads, layout: QkvLayout, forest: &Arc<Forest>) -> Result<Tensor> {
    composed::forest_attention_packed(qkv, heads, layout, forest)
}

/// Keys and values of a sequence generated so far, the current token's included: `[length, key_value * size]` each.
#[derive(Debug, Clone, Copy)]
pub struct CachedSequence<'a> {
    /// Keys, row after row.
    pub keys: &'a [f32],
    /// Values, row after row.
    pub values: &'a [f32],
}

/// Attention of one new token per sequence over that sequence's cache; records no gradient.
///
/// # Shapes
///
/// `q` and the result `[B, query * size]` in `f32`, one cache per row.
pub fn cached_attention(q: &Tensor, heads: Heads, caches: &[CachedSequence<'_>]) -> Result<Tensor> {
    composed::cached_attention(q, heads, caches)
}
