//! Attention over what sequences have read, kept in blocks that they may share.

use super::composed::rows_at;
use super::paged::{PAGE, Page, PagePool, PagedStep, Pages};
use super::slices::read;
use super::{AttentionForm, Heads};
use crate::device::has_kernels;
use crate::kernels::cached::{self, BLOCK, BlockLayout, Cache};
use crate::transfer::from_host;
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

/// Keys and values of up to [`CacheBlock::TOKENS`] tokens that follow each other, in every layer of a model.
///
/// Sequences that have tokens and all that came before them in common may hold one block for them. It is then kept once, and
/// attention reads it once for all of them.
#[derive(Debug)]
pub struct CacheBlock(Place);

#[derive(Debug)]
enum Place {
    /// In this process's memory, layer after layer, as the kernels read it.
    Host(BlockLayout, Vec<f32>),
    /// On a device.
    Page(Page),
}

/// Where a model's blocks are made: in this process's memory where kernels compute, else on the device. Clones share it.
#[derive(Clone, Debug)]
pub struct CachePool {
    heads: Heads,
    n_layers: usize,
    pages: Option<PagePool>,
}

impl CachePool {
    /// A pool for a model on a device.
    ///
    /// # Errors
    ///
    /// The device is out of memory.
    pub fn new(heads: Heads, n_layers: usize, device: &Device) -> Result<Self> {
        let pages = if has_kernels(device) { None } else { Some(PagePool::new(heads, n_layers, device)?) };
        Ok(Self { heads, n_layers, pages })
    }

    /// A block without tokens.
    ///
    /// # Errors
    ///
    /// The device is out of memory.
    pub fn block(&self) -> Result<CacheBlock> {
        Ok(CacheBlock(match &self.pages {
            None => {
                let layout = BlockLayout::new(self.heads);
                Place::Host(layout, vec![0.; self.n_layers * layout.len()])
            }
            Some(pages) => Place::Page(pages.pages(1)?.swap_remove(0)),
        }))
    }

    /// Blocks of tokens whose keys and values are rows of tensors, `[T, key_value * size]` each, a pair for every layer; a run of
    /// rows is a block.
    ///
    /// # Errors
    ///
    /// Other layers than the pool has, runs that are empty or too long or leave the tensors, the device is out of memory.
    pub fn blocks(&self, layers: &[[Tensor; 2]], runs: &[&[usize]]) -> Result<Vec<CacheBlock>> {
        let width = self.heads.key_value * self.heads.size;
        let n_rows = layers.first().map_or(Ok(0), |[keys, _]| keys.dim(0))?;
        let is_one = |run: &&[usize]| (1..=BLOCK).contains(&run.len()) && run.iter().all(|&row| row < n_rows);
        let fits = |x: &Tensor| x.dims() == [n_rows, width];
        if layers.len() != self.n_layers || !layers.iter().flatten().all(fits) || !runs.iter().all(is_one) {
            bail!("{} blocks of {n_rows} rows in {} layers do not fit {self:?}", runs.len(), layers.len());
        }
        match &self.pages {
            None => self.host_blocks(layers, runs),
            Some(pages) => paged_blocks(pages, layers, runs),
        }
    }

    fn host_blocks(&self, layers: &[[Tensor; 2]], runs: &[&[usize]]) -> Result<Vec<CacheBlock>> {
        let layout = BlockLayout::new(self.heads);
        let single = |[keys, values]: &[Tensor; 2]| {
            let single = |x: &Tensor| x.to_dtype(DType::F32)?.contiguous();
            Ok([single(keys)?, single(values)?])
        };
        let layers = layers.iter().map(single).collect::<Result<Vec<[Tensor; 2]>>>()?;
        let numbers = layers.iter().map(|[keys, values]| Ok([read::<f32>(keys)?, read::<f32>(values)?]));
        let numbers = numbers.collect::<Result<Vec<_>>>()?;
        let numbers: Vec<[&[f32]; 2]> = numbers.iter().map(|[keys, values]| [&**keys, &**values]).collect();
        let block = |run: &&[usize]| {
            let mut block = vec![0.; self.n_layers * layout.len()];
            for (layer, [keys, values]) in block.chunks_exact_mut(layout.len()).zip(&numbers) {
                for (token, row) in run.iter().enumerate() {
                    let own = row * layout.width()..(row + 1) * layout.width();
                    layout.write(layer, token, &keys[own.clone()], &values[own]);
                }
            }
            CacheBlock(Place::Host(layout, block))
        };
        Ok(runs.par_iter().map(block).collect())
    }
}

fn paged_blocks(pool: &PagePool, layers: &[[Tensor; 2]], runs: &[&[usize]]) -> Result<Vec<CacheBlock>> {
    let pages = pool.pages(runs.len())?;
    // Pages are written whole: what follows the last token is never read.
    let token = |run: &[usize], token: usize| run[token.min(run.len() - 1)] as u32;
    let rows: Vec<u32> = runs.iter().flat_map(|run| (0..PAGE).map(move |place| token(run, place))).collect();
    let Some([keys, _]) = layers.first().filter(|_| !rows.is_empty()) else { return Ok(Vec::new()) };
    let (n, lent) = (rows.len(), pages.iter().collect::<Vec<&Page>>());
    let rows = from_host(rows, n, keys.device())?;
    for (layer, [keys, values]) in layers.iter().enumerate() {
        pool.fill(layer, &lent, &rows_at(keys, &rows)?, &rows_at(values, &rows)?)?;
    }
    Ok(pages.into_iter().map(|page| CacheBlock(Place::Page(page))).collect())
}

impl CacheBlock {
    /// The capacity of a block, in tokens.
    pub const TOKENS: usize = BLOCK;

    /// A block of its own with the same tokens.
    ///
    /// # Errors
    ///
    /// The device is out of memory.
    pub fn copied(&self) -> Result<Self> {
        Ok(Self(match &self.0 {
            Place::Host(layout, numbers) => Place::Host(*layout, numbers.clone()),
            Place::Page(page) => Place::Page(page.copied()?),
        }))
    }

    /// Puts the keys and values of a token, `[key_value * size]` each, into a layer of a block in this process's memory.
    ///
    /// # Panics
    ///
    /// If there is no such layer or no room for such a token, the numbers are not as many, or the block is on a device.
    pub fn write(&mut self, layer: usize, token: usize, keys: &[f32], values: &[f32]) {
        let Place::Host(layout, numbers) = &mut self.0 else { panic!("a block on a device is written by a step") };
        let width = layout.width();
        assert!(token < BLOCK && keys.len() == width && values.len() == width, "no token of this block");
        let layer = layer * layout.len()..(layer + 1) * layout.len();
        layout.write(&mut numbers[layer], token, keys, values);
    }

    /// The numbers of a layer, where they are in this process's memory.
    fn layer(&self, layer: usize, heads: Heads) -> Option<&[f32]> {
        match &self.0 {
            Place::Host(layout, numbers) if *layout == BlockLayout::new(heads) => {
                numbers.get(layer * layout.len()..(layer + 1) * layout.len())
            }
            Place::Host(..) | Place::Page(_) => None,
        }
    }

    fn page(&self) -> Option<&Page> {
        match &self.0 {
            Place::Page(page) => Some(page),
            Place::Host(..) => None,
        }
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
    fn check(&self) -> Result<()> {
        if self.n_tokens == 0 || self.blocks.len() != self.n_tokens.div_ceil(BLOCK) {
            bail!("a cache of {} tokens in {} blocks", self.n_tokens, self.blocks.len());
        }
        Ok(())
    }
}

/// Attention of one new token per sequence over that sequence's cache in this process's memory; records no gradient.
///
/// # Shapes
///
/// `q` and the result `[B, query * size]` in `f32`, one cache per row.
///
/// # Errors
///
/// Queries and caches that do not fit each other, or are on a device: there a [`CacheStep`] attends.
pub fn cached_attention(
    q: &Tensor,
    heads: Heads,
    form: AttentionForm,
    layer: usize,
    caches: &[CachedSequence<'_>],
) -> Result<Tensor> {
    check_queries(q, heads, caches.len())?;
    let mut read_caches = Vec::with_capacity(caches.len());
    for cache in caches {
        cache.check()?;
        let blocks = cache.blocks.iter().map(|block| block.layer(layer, heads));
        let Some(blocks) = blocks.collect::<Option<Vec<&[f32]>>>() else {
            bail!("a cache of {} tokens has no layer {layer} for {heads:?} in this process's memory", cache.n_tokens)
        };
        let first = cache.n_tokens.saturating_sub(form.window.unwrap_or(usize::MAX));
        read_caches.push(Cache { blocks, n_tokens: cache.n_tokens, first });
    }
    let q = q.contiguous()?;
    Tensor::from_vec(cached::attention(&read(&q)?, heads, form, &read_caches), q.dims(), q.device())
}

fn check_queries(q: &Tensor, heads: Heads, n: usize) -> Result<()> {
    heads.check_groups()?;
    if q.dims() != [n, heads.query * heads.size] {
        bail!("attention over {n} caches and {heads:?} got queries {:?}", q.dims());
    }
    Ok(())
}

/// One new token of each sequence whose cache is on a device: its keys and values are put there, and it attends to all.
#[derive(Debug)]
pub struct CacheStep {
    step: PagedStep,
    n: usize,
}

impl CacheStep {
    /// A step of these sequences, which have room for their last token; nothing if their blocks are in this process's memory.
    ///
    /// # Errors
    ///
    /// Blocks that are not as many as the tokens need, blocks of several pools, the device is out of memory.
    pub fn of(caches: &[CachedSequence<'_>]) -> Result<Option<Self>> {
        let mut sequences = Vec::with_capacity(caches.len());
        for cache in caches {
            cache.check()?;
            let pages = cache.blocks.iter().map(|block| block.page()).collect::<Option<Vec<&Page>>>();
            let Some(pages) = pages else { return Ok(None) };
            sequences.push(Pages { pages, n_tokens: cache.n_tokens });
        }
        Ok(Some(Self { step: PagedStep::of(&sequences)?, n: caches.len() }))
    }

    /// Puts the new tokens' keys and values, `[B, key_value * size]` each, into a layer, and attends as [`cached_attention`] does.
    ///
    /// # Errors
    ///
    /// Numbers that do not fit the caches, the device is out of memory.
    pub fn attend(
        &self,
        layer: usize,
        heads: Heads,
        form: AttentionForm,
        [q, keys, values]: [&Tensor; 3],
    ) -> Result<Tensor> {
        check_queries(q, heads, self.n)?;
        self.step.check(heads, layer)?;
        self.step.write(layer, keys, values)?;
        self.step.attention(q, heads, form, layer)
    }
}
