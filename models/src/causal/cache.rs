//! Keys and values of what sequences have read, so that their next token costs one step.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use engine::EngineError;
use engine::ops::{
    AttentionForm, CacheBlock, CachePool, CacheStep, CachedSequence, Forest, Heads, QkvLayout, cached_attention,
};
use engine::transfer::to_host;
use rayon::prelude::*;

use super::decoder::{Attend, Decoder, DecoderInput, Pass, Projection};
use super::packing::Packing;

/// The KV cache of one sequence, in blocks that sequences with a common prefix share.
///
/// A copy costs no more than the pointers to its blocks. A block that others hold too is copied when a sequence writes to it:
/// at most the last, since only that has room.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    blocks: Vec<Arc<CacheBlock>>,
    n_tokens: usize,
}

impl Cached {
    /// The number of cached tokens.
    pub(super) fn len(&self) -> usize {
        self.n_tokens
    }

    /// What a sequence has read that shares the first tokens of this one; their blocks are held together.
    pub(super) fn first(&self, n_tokens: usize) -> Self {
        let n_tokens = n_tokens.min(self.n_tokens);
        Self { blocks: self.blocks[..n_tokens.div_ceil(CacheBlock::TOKENS)].to_vec(), n_tokens }
    }

    /// Its blocks.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> &[Arc<CacheBlock>] {
        &self.blocks
    }

    /// Makes room for one token more, in a block that is not shared.
    fn grow(&mut self, pool: &CachePool) -> Result<(), EngineError> {
        match self.blocks.last_mut() {
            Some(last) if !self.n_tokens.is_multiple_of(CacheBlock::TOKENS) => {
                if Arc::get_mut(last).is_none() {
                    *last = Arc::new(last.copied()?);
                }
            }
            _ => self.blocks.push(Arc::new(pool.block()?)),
        }
        self.n_tokens += 1;
        Ok(())
    }

    /// Puts the last token's keys and values into a layer in this process's memory.
    fn write(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        // Growing has left the last block to this sequence alone.
        if let Some(last) = self.blocks.last_mut().and_then(Arc::get_mut) {
            last.write(layer, (self.n_tokens - 1) % CacheBlock::TOKENS, keys, values);
        }
    }
}

impl Decoder {
    /// A pool for what sequences read, in the memory of the device that computes.
    pub(super) fn cache_pool(&self) -> Result<CachePool, EngineError> {
        Ok(CachePool::new(self.heads(), self.config.n_layers, &self.weights.device())?)
    }

    /// Reads sequences, each shared prefix once: what is cached of each, which of the rows of hidden states is its last, and
    /// those, `[distinct sequences, width]`.
    pub(super) fn prefill(
        &self,
        sequences: &[Vec<u32>],
        pool: &CachePool,
    ) -> Result<(Vec<(Cached, usize)>, Tensor), EngineError> {
        let packing = Packing::of_prefixes(sequences);
        let mut recorder = Recorder { forest: Arc::clone(&packing.forest), layers: Vec::new() };
        let hidden = self.hidden(packing.reading(), &mut recorder, Pass::Scoring)?;
        let paths: Vec<Vec<usize>> = packing.rows.iter().map(|&row| packing.path(row).flatten().collect()).collect();
        // The last row of a block tells it from others: in a forest it has one way to the root.
        let runs = paths.iter().flat_map(|path| path.chunks(CacheBlock::TOKENS));
        let runs: BTreeMap<usize, &[usize]> = runs.filter_map(|run| Some((*run.last()?, run))).collect();
        let (lasts, runs): (Vec<usize>, Vec<&[usize]>) = runs.into_iter().unzip();
        let blocks = pool.blocks(&recorder.layers, &runs)?;
        let blocks: BTreeMap<usize, Arc<CacheBlock>> =
            lasts.into_iter().zip(blocks.into_iter().map(Arc::new)).collect();
        let cached: Vec<Cached> = paths
            .iter()
            .map(|path| Cached {
                blocks: path.chunks(CacheBlock::TOKENS).map(|run| Arc::clone(&blocks[&run[run.len() - 1]])).collect(),
                n_tokens: path.len(),
            })
            .collect();
        let kept = packing.query_of.iter().map(|&query| packing.queries[query as usize].0 as usize);
        Ok((kept.map(|kept| (cached[kept].clone(), kept)).collect(), hidden))
    }

    /// Reads one more token of each sequence; also the hidden state of each, `[sequences, width]`.
    pub(super) fn read_on(
        &self,
        tokens: &[(u32, u32)],
        mut cached: Vec<&mut Cached>,
        pool: &CachePool,
    ) -> Result<Tensor, EngineError> {
        let (tokens, positions): (Vec<u32>, Vec<u32>) = tokens.iter().copied().unzip();
        let reading = DecoderInput { tokens: &tokens, positions: &positions, rows: None };
        for cached in &mut cached {
            cached.grow(pool)?;
        }
        let step = CacheStep::of(&sequences(&cached))?;
        self.hidden(reading, &mut Rows { cached, step }, Pass::Scoring)
    }
}

/// The sequences that read on.
struct Rows<'a> {
    cached: Vec<&'a mut Cached>,
    /// Their new tokens, where the caches are on a device.
    step: Option<CacheStep>,
}

fn sequences<'a>(cached: &'a [&mut Cached]) -> Vec<CachedSequence<'a>> {
    cached.iter().map(|row| CachedSequence { blocks: &row.blocks, n_tokens: row.n_tokens }).collect()
}

/// One new token of every sequence.
impl Attend for Rows<'_> {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        form: AttentionForm,
        projection: Projection,
    ) -> Result<Tensor, EngineError> {
        let [queries, keys, values] = split(projection, heads)?;
        if let Some(step) = &self.step {
            let attended = step.attend(layer, heads, form, [&queries, &keys, &values])?;
            return Ok(attended.to_dtype(queries.dtype())?);
        }
        let (keys, values) = (to_host::<f32>(&keys)?, to_host::<f32>(&values)?);
        let width = heads.key_value * heads.size;
        let rows = self.cached.par_iter_mut().zip(keys.par_chunks(width).zip(values.par_chunks(width)));
        rows.for_each(|(row, (keys, values))| row.write(layer, keys, values));
        let queries_in_single = queries.to_dtype(DType::F32)?.contiguous()?;
        let attended = cached_attention(&queries_in_single, heads, form, layer, &sequences(&self.cached))?;
        Ok(attended.to_dtype(queries.dtype())?)
    }
}

/// Attention over a forest that notes keys and values on the way.
struct Recorder {
    forest: Arc<Forest>,
    layers: Vec<[Tensor; 2]>,
}

impl Attend for Recorder {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        form: AttentionForm,
        projection: Projection,
    ) -> Result<Tensor, EngineError> {
        let [queries, keys, values] = split(projection, heads)?;
        self.layers.push([keys.clone(), values.clone()]);
        (&self.forest).attend(layer, heads, form, Projection::Split([queries, keys, values]))
    }
}

/// Queries, keys and values apart.
fn split(projection: Projection, heads: Heads) -> Result<[Tensor; 3], EngineError> {
    let (packed, layout) = match projection {
        Projection::Split(parts) => return Ok(parts),
        Projection::Packed(packed, layout) => (packed, layout),
    };
    let (n_rows, width) = (packed.dim(0)?, heads.query * heads.size);
    let parts = match layout {
        QkvLayout::PerHead => {
            let by_head = packed.reshape((n_rows, heads.query, 3, heads.size))?;
            let part = |part: usize| by_head.narrow(2, part, 1)?.contiguous()?.reshape((n_rows, width));
            [part(0)?, part(1)?, part(2)?]
        }
        QkvLayout::Blocks => {
            let keys = heads.key_value * heads.size;
            [
                packed.narrow(1, 0, width)?.contiguous()?,
                packed.narrow(1, width, keys)?.contiguous()?,
                packed.narrow(1, width + keys, keys)?.contiguous()?,
            ]
        }
    };
    Ok(parts)
}
