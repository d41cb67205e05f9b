//! Attention in plain candle ops.

use super::forest_mask::seen;
use super::{product, split};
use crate::ops::{AttentionForm, Block, Forest, Heads, QkvLayout, full_attention};
use candle_core::{D, Result, Tensor};
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
    for (segment, seen) in forest.segments.iter().zip(&*seen(forest, form.window, q)?) {
        let Some(seen) = seen else { continue };
        let query = q.narrow(0, segment.start, segment.len)?;
        parts.push(attend(&query, &seen.of(k)?, &seen.of(v)?, heads, form, Some(&seen.mask))?);
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
    let scores = soft_cap(&(product(&q, &spread(k)?.t()?)? * scale)?, form.cap)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    let output = product(&softmax(&scores)?, &spread(v)?)?;
    output.transpose(0, 1)?.contiguous()?.reshape((len, heads.query * heads.size))
}

/// Bounds numbers softly, `cap tanh(x / cap)`, where there is a cap.
pub(crate) fn soft_cap(x: &Tensor, cap: Option<f64>) -> Result<Tensor> {
    match cap {
        None => Ok(x.clone()),
        Some(cap) => (x / cap)?.tanh()? * cap,
    }
}

/// Differentiable softmax over the last dimension.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}
