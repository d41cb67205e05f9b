//! Full (unmasked) attention, block by block: over the pixels of an image, or cross-attention to its caption.

use super::attention::attend_blocks;
use super::slices::fused_or;
use super::{Block, Heads, composed};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// Scaled dot-product attention in which each query of a block sees all keys of the block; the scale is
/// `1 / sqrt(size)`.
///
/// # Shapes
///
/// `q` and the result `[T, query * size]`, `k` and `v` `[S, key_value * size]`.
///
/// # Errors
///
/// Unless the blocks' queries are consecutive from row 0 to the last, and each block with queries has keys.
pub fn block_attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, blocks: &Arc<[Block]>) -> Result<Tensor> {
    check(q, k, v, heads, blocks)?;
    fused_or!(&[q, k, v], T => attend_blocks::<T>(q, k, v, heads, blocks), composed::block_attention(q, k, v, heads, blocks))
}

pub(crate) fn check(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, blocks: &[Block]) -> Result<()> {
    heads.check_groups()?;
    let (n_queries, n_keys) = (q.dim(0)?, k.dim(0)?);
    let (query, keys) = (heads.query * heads.size, heads.key_value * heads.size);
    if q.dims() != [n_queries, query] || k.dims() != [n_keys, keys] || v.dims() != [n_keys, keys] {
        bail!("attention of {heads:?} got q {:?}, k {:?}, v {:?}", q.dims(), k.dims(), v.dims());
    }
    let mut next = 0;
    for block in blocks {
        if block.queries.start != next || block.queries.end < next {
            bail!("queries {:?} come after row {next}", block.queries);
        }
        if block.keys.end > n_keys || (block.keys.is_empty() && !block.queries.is_empty()) {
            bail!("queries {:?} look at keys {:?} of {n_keys}", block.queries, block.keys);
        }
        next = block.queries.end;
    }
    if next != n_queries {
        bail!("blocks cover {next} of {n_queries} queries");
    }
    Ok(())
}
