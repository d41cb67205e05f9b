//! Attention in plain candle ops.

use super::split;
use crate::ops::{AttentionForm, Block, CachedSequence, Forest, Heads, QkvLayout, full_attention};
use candle_core::{D, Device, Result, Tensor, bail};
use std::sync::Arc;

/// See [`crate::ops::forest_attention`].
pub fn forest_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    form: AttentionForm,
    forest: &Arc<Forest>,
) -> Result<Tensor> {
    heads.check(forest, q, k, v)?;
    let mut parts = Vec::with_capacity(forest.segments.len());
    for (index, segment) in forest.segments.iter().enumerate() {
        if segment.len == 0 {
            continue;
        }
        let rows: Vec<u32> = forest
            .path(index)
            .iter()
            .flat_map(|&s| forest.segments[s].start..forest.segments[s].start + forest.segments[s].len)
            .map(|row| row as u32)
            .collect();
        let mask = causal_mask(segment.len, rows.len(), form.window, q.device())?.to_dtype(q.dtype())?;
        let rows = Tensor::new(rows, q.device())?;
        let query = q.narrow(0, segment.start, segment.len)?;
        let (k, v) = (k.index_select(&rows, 0)?, v.index_select(&rows, 0)?);
        parts.push(attend(&query, &k, &v, heads, form, Some(&mask))?);
    }
    if parts.is_empty() { q.zeros_like() } else { Tensor::cat(&parts, 0) }
}

/// See [`crate::ops::forest_attention_packed`].
pub fn forest_attention_packed(
    qkv: &Tensor,
    heads: Heads,
    form: AttentionForm,
    layout: QkvLayout,
    forest: &Arc<Forest>,
) -> Result<Tensor> {
    heads.check_packed(forest.n_rows(), qkv, layout)?;
    let (q, k, v) = split(qkv, heads, layout)?;
    forest_attention(&q, &k, &v, heads, form, forest)
}

/// See [`crate::ops::block_attention`].
pub fn block_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, blocks: &Arc<[Block]>) -> Result<Tensor> {
    full_attention::check(q, k, v, heads, blocks)?;
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks.iter().filter(|block| !block.queries.is_empty()) {
        let queries = q.narrow(0, block.queries.start, block.queries.len())?;
        let [k, v] = [k, v].map(|x| x.narrow(0, block.keys.start, block.keys.len()));
        let (queries, k, v) = (queries.contiguous()?, k?.contiguous()?, v?.contiguous()?);
        parts.push(attend(&queries, &k, &v, heads, AttentionForm::default(), None)?);
    }
    if parts.is_empty() { q.zeros_like() } else { Tensor::cat(&parts, 0) }
}

/// See [`crate::ops::cached_attention`].
pub fn cached_attention(
    q: &Tensor,
    heads: Heads,
    form: AttentionForm,
    layer: usize,
    caches: &[CachedSequence<'_>],
) -> Result<Tensor> {
    let width = heads.key_value * heads.size;
    if q.dims() != [caches.len(), heads.query * heads.size] {
        bail!("attention over {} caches and {heads:?} got queries {:?}", caches.len(), q.dims());
    }
    let mut parts = Vec::with_capacity(caches.len());
    for (row, cache) in caches.iter().enumerate() {
        let (keys, values) = cache.rows(layer);
        let n_seen = cache.n_tokens.min(form.window.unwrap_or(usize::MAX));
        let [keys, values] = [keys, values].map(|rows| {
            let rows = Tensor::from_vec(rows, (cache.n_tokens, width), q.device())?.to_dtype(q.dtype())?;
            rows.narrow(0, cache.n_tokens - n_seen, n_seen)?.contiguous()
        });
        parts.push(attend(&q.narrow(0, row, 1)?.detach(), &keys?, &values?, heads, form, None)?);
    }
    if parts.is_empty() { Ok(q.clone()) } else { Tensor::cat(&parts, 0) }
}

/// `[len, query * size]` queries over `[n, key_value * size]` keys and values.
fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    form: AttentionForm,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let (len, n) = (q.dim(0)?, k.dim(0)?);
    let group = heads.query / heads.key_value;
    let spread = |x: &Tensor| {
        let x = x.reshape((n, heads.key_value, 1, heads.size))?;
        let x = x.broadcast_as((n, heads.key_value, group, heads.size))?.contiguous()?;
        x.reshape((n, heads.query, heads.size))?.transpose(0, 1)?.contiguous()
    };
    let q = q.reshape((len, heads.query, heads.size))?.transpose(0, 1)?.contiguous()?;
    let scale = form.scale.unwrap_or_else(|| 1. / (heads.size as f64).sqrt());
    let scores = soft_cap(&(q.matmul(&spread(k)?.t()?)? * scale)?, form.cap)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    let output = softmax(&scores)?.matmul(&spread(v)?)?;
    output.transpose(0, 1)?.contiguous()?.reshape((len, heads.query * heads.size))
}

/// Bounds numbers softly, `cap tanh(x / cap)`, where there is a cap.
pub(super) fn soft_cap(x: &Tensor, cap: Option<f64>) -> Result<Tensor> {
    match cap {
        None => Ok(x.clone()),
        Some(cap) => (x / cap)?.tanh()? * cap,
    }
}

/// Differentiable softmax over the last dimension.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// `[len, n]`: 0 where visible, minus infinity on later tokens of the same segment and before the window.
fn causal_mask(len: usize, n: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let before = n - len;
    let is_seen =
        |row: usize, column: usize| column <= before + row && before + row - column < window.unwrap_or(usize::MAX);
    let cell = |row: usize, column: usize| if is_seen(row, column) { 0. } else { f32::NEG_INFINITY };
    let mask: Vec<f32> = (0..len).flat_map(|row| (0..n).map(move |column| cell(row, column))).collect();
    Tensor::from_vec(mask, (len, n), device)
}
