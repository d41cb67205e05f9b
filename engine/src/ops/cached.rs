//! Attention over what sequences have read, kept in blocks that they may share.

use super::slices::read;
use super::{AttentionForm, Heads, composed};
use crate::kernels::cached::{self, BLOCK, BlockLayout, Cache};
use candle_core::{DType, Result, Tensor, bail};
use std::sync::Arc;

/// Keys and values of up to [`CacheBlock::TOKENS`] tokens that follow each other, in every layer of a model.
///
/// Sequences that have tokens and all that came before them in common may hold one block for them. It is then kept once, and
/// attention reads it once for all of them.
#[derive(Clone, Debug)]
pub struct CacheBlock {
    layout: BlockLayout,
    /// Layer after layer.
    numbers: Vec<f32>,
}

impl CacheBlock {
    /// The capacity of a block, in tokens.
    pub const TOKENS: usize = BLOCK;

    /// A block without tokens.
    pub fn new(heads: Heads, n_layers: usize) -> Self {
        let layout = BlockLayout::new(heads);
        Self { layout, numbers: vec![0.; n_layers * layout.len()] }
    }

    /// Puts the keys and values of a token, `[key_value * size]` each, into a layer.
    ///
    /// # Panics
    ///
    /// If there is no such layer or no room for such a token, or the numbers are not as many.
    pub fn write(&mut self, layer: usize, token: usize, keys: &[f32], values: &[f32]) {
        let width = self.layout.width();
        assert!(token < BLOCK && keys.len() == width && values.len() == width, "no token of this block");
        let layer = layer * self.layout.len()..(layer + 1) * self.layout.len();
        self.layout.write(&mut self.numbers[layer], token, keys, values);
    }

    fn layer(&self, layer: usize) -> &[f32] {
        &self.numbers[layer * self.layout.len()..][..self.layout.len()]
    }

    fn fits(&self, heads: Heads, layer: usize) -> bool {
        self.layout == BlockLayout::new(heads) && self.numbers.len() >= (layer + 1) * self.layout.len()
    }
}

/// The cached tokens of a sequence, the current one included: the first `n_tokens` tokens of its blocks, all of which are full but
/// the last.
#[derive(Debug, Clone, Copy)]
pub struct CachedSequence<'a> {
    /// The blocks, in order.
    pub blocks: &'a [Arc<CacheBlock>],
    /// The number of tokens.
    pub n_tokens: usize,
}

impl CachedSequence<'_> {
    /// Its keys and its values in a layer, `[n_tokens, key_value * size]` each.
    pub(super) fn rows(&self, layer: usize) -> (Vec<f32>, Vec<f32>) {
        let token = |token: usize| {
            let block = &self.blocks[token / BLOCK];
            block.layout.read(block.layer(layer), token % BLOCK)
        };
        (0..self.n_tokens).flat_map(token).unzip()
    }
}

/// Attention of one new token per sequence over that sequence's cache; records no gradient.
///
/// # Shapes
///
/// `q` and the result `[B, query * size]` in `f32`, one cache per row.
pub fn cached_attention(
    q: &Tensor,
    heads: Heads,
    form: AttentionForm,
    layer: usize,
    caches: &[CachedSequence<'_>],
) -> Result<Tensor> {
    heads.check_groups()?;
    if q.dims() != [caches.len(), heads.query * heads.size] {
        bail!("attention over {} caches and {heads:?} got queries {:?}", caches.len(), q.dims());
    }
    for CachedSequence { blocks, n_tokens } in caches {
        let is_too_long = *n_tokens == 0 || blocks.len() != n_tokens.div_ceil(BLOCK);
        if is_too_long || blocks.iter().any(|block| !block.fits(heads, layer)) {
            bail!("a cache of {n_tokens} tokens in {} blocks, for layer {layer} and {heads:?}", blocks.len());
        }
    }
    if !q.device().is_cpu() || q.dtype() != DType::F32 {
        return composed::cached_attention(q, heads, form, layer, caches);
    }
    let q = q.contiguous()?;
    let caches: Vec<Cache<'_>> = caches
        .iter()
        .map(|cache| Cache {
            blocks: cache.blocks.iter().map(|block| block.layer(layer)).collect(),
            n_tokens: cache.n_tokens,
            first: cache.n_tokens.saturating_sub(form.window.unwrap_or(usize::MAX)),
        })
        .collect();
    Tensor::from_vec(cached::attention(&read(&q)?, heads, form, &caches), q.dims(), q.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::checks::tensor;
    use crate::ops::{Forest, forest_attention};
    use candle_core::Device;

    const LAYER: usize = 1;
    /// All switches on; the window ends within a block.
    const FORM: AttentionForm = AttentionForm { scale: Some(0.4), cap: Some(1.5), window: Some(21) };

    fn numbers(x: &Tensor) -> Vec<f32> {
        x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Blocks of rows of `k` and `v`, behind some that are there already.
    fn grow(blocks: &mut Vec<Arc<CacheBlock>>, heads: Heads, [k, v]: [&Tensor; 2], rows: std::ops::Range<usize>) {
        let width = heads.key_value * heads.size;
        let (keys, values) = (numbers(k), numbers(v));
        for (token, row) in rows.enumerate() {
            if token % CacheBlock::TOKENS == 0 {
                blocks.push(Arc::new(CacheBlock::new(heads, LAYER + 1)));
            }
            let block = Arc::get_mut(blocks.last_mut().unwrap()).unwrap();
            let of = |all: &[f32]| all[row * width..][..width].to_vec();
            block.write(LAYER, token % CacheBlock::TOKENS, &of(&keys), &of(&values));
        }
    }

    fn close(ours: &Tensor, expected: &Tensor) {
        let difference = (ours - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-6, "off by {difference}");
    }

    /// Sequences of these lengths, each a chain of its own.
    fn check(heads: Heads, form: AttentionForm, lengths: &[usize]) {
        let n: usize = lengths.iter().sum();
        let single = |seed, heads: usize, size| tensor(seed, &[n, heads * size]).to_dtype(DType::F32).unwrap();
        let (q, k) = (single(1, heads.query, heads.size), single(2, heads.key_value, heads.size));
        let v = single(3, heads.key_value, heads.size);
        let whole = forest_attention(&q, &k, &v, heads, form, &Arc::new(Forest::chains(lengths))).unwrap();
        let (mut caches, mut last, mut start) = (Vec::new(), Vec::new(), 0);
        for length in lengths {
            let mut blocks = Vec::new();
            grow(&mut blocks, heads, [&k, &v], start..start + length);
            caches.push(blocks);
            start += length;
            last.push(start as u32 - 1);
        }
        let caches: Vec<CachedSequence<'_>> =
            caches.iter().zip(lengths).map(|(blocks, &n_tokens)| CachedSequence { blocks, n_tokens }).collect();
        let last = Tensor::new(last, &Device::Cpu).unwrap();
        let q = q.index_select(&last, 0).unwrap();
        let expected = whole.index_select(&last, 0).unwrap();
        close(&cached_attention(&q, heads, form, LAYER, &caches).unwrap(), &expected);
        close(&composed::cached_attention(&q, heads, form, LAYER, &caches).unwrap(), &expected);
    }

    #[test]
    fn a_cache_gives_the_last_row_of_the_whole_sequence() {
        for form in [AttentionForm::default(), FORM] {
            check(Heads { query: 4, key_value: 2, size: 40 }, form, &[6, 7]);
            check(Heads { query: 1, key_value: 1, size: 1 }, form, &[1]);
            check(Heads { query: 3, key_value: 3, size: 16 }, form, &[16, 17, 33, 1, 5, 48, 70, 37]);
            check(Heads { query: 6, key_value: 1, size: 5 }, form, &[40; 19]);
        }
    }

    #[test]
    fn what_sequences_share_changes_no_bit_of_them() {
        let heads = Heads { query: 4, key_value: 2, size: 9 };
        let [k, v] = [2, 3].map(|seed| tensor(seed, &[110, 18]));
        let mut shared = Vec::new();
        grow(&mut shared, heads, [&k, &v], 0..32);
        let mut sequences = Vec::new();
        for index in 0..21 {
            // Some end in the block that all have in common, and between the others is one that shares nothing.
            let mut blocks = if index == 7 { Vec::new() } else { shared.clone() };
            let own = if index == 7 { 50 } else { index % 4 };
            grow(&mut blocks, heads, [&k, &v], 35 + index..35 + index + own);
            sequences.push((blocks, if index == 7 { 50 } else { 32 + own }));
        }
        let q = tensor(1, &[sequences.len(), 36]).to_dtype(DType::F32).unwrap();
        let views: Vec<CachedSequence<'_>> =
            sequences.iter().map(|(blocks, n)| CachedSequence { blocks, n_tokens: *n }).collect();
        let together = cached_attention(&q, heads, FORM, LAYER, &views).unwrap();
        for (row, (blocks, n_tokens)) in sequences.iter().enumerate() {
            let copied: Vec<Arc<CacheBlock>> = blocks.iter().map(|block| Arc::new((**block).clone())).collect();
            let own = [CachedSequence { blocks: &copied, n_tokens: *n_tokens }];
            let alone = cached_attention(&q.narrow(0, row, 1).unwrap(), heads, FORM, LAYER, &own).unwrap();
            assert_eq!(numbers(&alone), numbers(&together.narrow(0, row, 1).unwrap()), "sequence {row}");
        }
    }

    #[test]
    fn caches_that_do_not_fit_are_refused() {
        let heads = Heads { query: 2, key_value: 2, size: 4 };
        let (blocks, q) =
            ([Arc::new(CacheBlock::new(heads, 1))], Tensor::zeros((1, 8), DType::F32, &Device::Cpu).unwrap());
        let refused = |heads, layer, n_tokens| {
            cached_attention(
                &q,
                heads,
                AttentionForm::default(),
                layer,
                &[CachedSequence { blocks: &blocks, n_tokens }],
            )
            .is_err()
        };
        assert!(!refused(heads, 0, 16));
        assert!(refused(heads, 0, 0) && refused(heads, 0, 17) && refused(heads, 1, 3));
        assert!(refused(Heads { key_value: 1, ..heads }, 0, 3));
        assert!(cached_attention(&q, heads, AttentionForm::default(), 0, &[]).is_err());
    }
}
