//! Keys and values of what sequences have read, so that their next token costs one step.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use engine::EngineError;
use engine::ops::{CachedSequence, Forest, Heads, QkvLayout, cached_attention};

use super::decoder::{Attend, Decoder, Pass, Projection, Reading};
use super::packing::Packing;

/// What one sequence has read, layer by layer.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    layers: Vec<KeysValues>,
}

#[derive(Clone, Debug)]
struct KeysValues {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Decoder {
    /// Reads sequences, each shared prefix once: what is cached of each, and the last hidden state of each,
    /// `[sequences, width]`.
    pub(super) fn prefill(&self, sequences: &[Vec<u32>]) -> Result<(Vec<Cached>, Tensor), EngineError> {
        let packing = Packing::of_prefixes(sequences);
        let mut recorder = Recorder { forest: Arc::clone(&packing.forest), layers: Vec::new() };
        let hidden = self.hidden(packing.reading(), &mut recorder, Pass::Scoring)?;
        let kept_row = |&query: &u32| packing.queries[query as usize].0;
        let kept: Vec<u32> = packing.query_of.iter().map(kept_row).collect();
        let hidden = engine::ops::embedding(&kept, &hidden)?;
        let width = self.heads().key_value * self.heads().size;
        let gather = |all: &[f32], row: u32| -> Vec<f32> {
            packing.path(row).flat_map(|rows| &all[rows.start * width..rows.end * width]).copied().collect()
        };
        let cached = kept.iter().map(|&kept| {
            let row = packing.rows[kept as usize];
            let layer = |(keys, values): &(Vec<f32>, Vec<f32>)| KeysValues {
                keys: gather(keys, row),
                values: gather(values, row),
            };
            Cached { layers: recorder.layers.iter().map(layer).collect() }
        });
        Ok((cached.collect(), hidden))
    }

    /// Reads one more token of each sequence; also the hidden state of each, `[sequences, width]`.
    pub(super) fn read_on(&self, tokens: &[(u32, u32)], cached: Vec<&mut Cached>) -> Result<Tensor, EngineError> {
        let (tokens, positions): (Vec<u32>, Vec<u32>) = tokens.iter().copied().unzip();
        let reading = Reading { tokens: &tokens, positions: &positions, rows: None };
        self.hidden(reading, &mut Rows(cached), Pass::Scoring)
    }
}

/// The sequences that read on.
struct Rows<'a>(Vec<&'a mut Cached>);

/// One new token of every sequence.
impl Attend for Rows<'_> {
    fn attend(&mut self, layer: usize, heads: Heads, projection: Projection) -> Result<Tensor, EngineError> {
        let [queries, keys, values] = split(projection, heads)?;
        let (keys, values) = (flat(&keys)?, flat(&values)?);
        let width = heads.key_value * heads.size;
        for (index, row) in self.0.iter_mut().enumerate() {
            let (own, sequence) = (index * width..(index + 1) * width, &mut row.layers[layer]);
            sequence.keys.extend_from_slice(&keys[own.clone()]);
            sequence.values.extend_from_slice(&values[own]);
        }
        let caches: Vec<CachedSequence<'_>> = self
            .0
            .iter()
            .map(|row| CachedSequence { keys: &row.layers[layer].keys, values: &row.layers[layer].values })
            .collect();
        let attended = cached_attention(&queries.to_dtype(DType::F32)?.contiguous()?, heads, &caches)?;
        Ok(attended.to_dtype(queries.dtype())?)
    }
}

/// Attention over a forest that notes keys and values on the way.
struct Recorder {
    forest: Arc<Forest>,
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Attend for Recorder {
    fn attend(&mut self, layer: usize, heads: Heads, projection: Projection) -> Result<Tensor, EngineError> {
        let [queries, keys, values] = split(projection, heads)?;
        self.layers.push((flat(&keys)?, flat(&values)?));
        (&self.forest).attend(layer, heads, Projection::Split([queries, keys, values]))
    }
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>, EngineError> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
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
