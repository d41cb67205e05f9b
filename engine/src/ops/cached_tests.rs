//! Attention over caches, in this process's memory and in pages, against attention over whole sequences.

use super::cached::{CacheBlock, CachePool, CacheStep, CachedSequence, cached_attention};
use super::checks::tensor;
use super::{AttentionForm, Forest, Heads, forest_attention};
use crate::device::WithoutKernels;
use crate::transfer::copies;
use candle_core::{DType, Device, Result, Tensor, bail};
use std::sync::Arc;

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
            blocks.push(Arc::new(CachePool::new(heads, LAYER + 1, &Device::Cpu).unwrap().block().unwrap()));
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
    close(&on_device(heads, form, lengths, [&q, &k, &v]), &expected);
}

/// The same in pages: all but the last token of each sequence are there already, where it has others.
fn on_device(heads: Heads, form: AttentionForm, lengths: &[usize], [q, k, v]: [&Tensor; 3]) -> Tensor {
    let _guard = WithoutKernels::begin();
    let pool = CachePool::new(heads, LAYER + 1, &Device::Cpu).unwrap();
    let layers = vec![[k.clone(), v.clone()]; LAYER + 1];
    let (mut caches, mut last, mut start) = (Vec::new(), Vec::new(), 0);
    for length in lengths {
        let rows: Vec<usize> = (start..start + length - 1).collect();
        let runs: Vec<&[usize]> = rows.chunks(CacheBlock::TOKENS).collect();
        let mut blocks: Vec<Arc<CacheBlock>> = pool.blocks(&layers, &runs).unwrap().into_iter().map(Arc::new).collect();
        if rows.len().is_multiple_of(CacheBlock::TOKENS) {
            blocks.push(Arc::new(pool.block().unwrap()));
        } else {
            // A branch writes to a block of its own.
            let own = Arc::new(blocks.last().unwrap().copied().unwrap());
            *blocks.last_mut().unwrap() = own;
        }
        caches.push(blocks);
        start += length;
        last.push(start as u32 - 1);
    }
    let sequences: Vec<CachedSequence<'_>> =
        caches.iter().zip(lengths).map(|(blocks, &n_tokens)| CachedSequence { blocks, n_tokens }).collect();
    assert!(cached_attention(q, heads, form, LAYER, &sequences).is_err());
    let last = Tensor::new(last, &Device::Cpu).unwrap();
    let [k, v] = [k, v].map(|x| x.index_select(&last, 0).unwrap());
    let before = copies();
    let step = CacheStep::of(&sequences).unwrap().unwrap();
    let attended = step.attend(LAYER, heads, form, [q, &k, &v]).unwrap();
    let made = copies() - before;
    let n_seen: usize = lengths.iter().map(|&n| n.min(form.window.unwrap_or(usize::MAX))).max().unwrap();
    // Places, which tokens are seen, and how many of them: no keys, no values.
    assert!(made.reads == 0 && made.numbers_written <= lengths.len() * (n_seen + 3) + n_seen, "{made:?}");
    let before = copies();
    step.attend(0, heads, form, [q, &k, &v]).unwrap();
    assert_eq!(copies(), before, "further layers write nothing");
    attended
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
        let copied: Vec<Arc<CacheBlock>> = blocks.iter().map(|block| Arc::new(block.copied().unwrap())).collect();
        let own = [CachedSequence { blocks: &copied, n_tokens: *n_tokens }];
        let alone = cached_attention(&q.narrow(0, row, 1).unwrap(), heads, FORM, LAYER, &own).unwrap();
        assert_eq!(numbers(&alone), numbers(&together.narrow(0, row, 1).unwrap()), "sequence {row}");
    }
}

#[test]
fn caches_that_do_not_fit_are_refused() {
    let heads = Heads { query: 2, key_value: 2, size: 4 };
    let q = Tensor::zeros((1, 8), DType::F32, &Device::Cpu).unwrap();
    let form = AttentionForm::default();
    let check = |attend: &dyn Fn(Heads, usize, CachedSequence<'_>) -> Result<Tensor>| {
        let blocks = [Arc::new(CachePool::new(heads, 1, &Device::Cpu).unwrap().block().unwrap())];
        let refused =
            |heads, layer, n_tokens| attend(heads, layer, CachedSequence { blocks: &blocks, n_tokens }).is_err();
        assert!(!refused(heads, 0, 16));
        assert!(refused(heads, 0, 0) && refused(heads, 0, 17) && refused(heads, 1, 3));
        assert!(refused(Heads { key_value: 1, ..heads }, 0, 3));
    };
    check(&|heads, layer, cache| cached_attention(&q, heads, form, layer, &[cache]));
    assert!(cached_attention(&q, heads, form, 0, &[]).is_err());
    let _guard = WithoutKernels::begin();
    check(&|heads, layer, cache| match CacheStep::of(&[cache])? {
        Some(step) => step.attend(layer, heads, form, [&q; 3]),
        None => bail!("the blocks are no pages"),
    });
    assert!(CacheStep::of(&[]).is_err());
}

#[test]
fn rows_that_are_no_block_are_refused() {
    let heads = Heads { query: 2, key_value: 2, size: 4 };
    let check = || {
        let pool = CachePool::new(heads, 1, &Device::Cpu).unwrap();
        let layer = || [tensor(1, &[20, 8]), tensor(2, &[20, 8])];
        assert_eq!(pool.blocks(&[layer()], &[&[0, 1], &[19]]).unwrap().len(), 2);
        assert!(pool.blocks(&[layer()], &[]).unwrap().is_empty());
        let long: Vec<usize> = (0..17).collect();
        for runs in [&[][..], &long, &[20]] {
            assert!(pool.blocks(&[layer()], &[runs]).is_err());
        }
        assert!(pool.blocks(&[layer(), layer()], &[&[0]]).is_err());
        assert!(pool.blocks(&[[tensor(1, &[20, 8]), tensor(2, &[20, 7])]], &[&[0]]).is_err());
    };
    check();
    let _guard = WithoutKernels::begin();
    check();
}
