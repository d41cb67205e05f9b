//! Sampling with a cache of keys and values, many sequences at once.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use engine::ops::{CachedSequence, Forest, Heads, QkvLayout, cached_attention};
use engine::{EngineError, Rng};

use super::decoder::{Attend, Decoder, Pass, Projection, Reading};
use super::draw::Sampling;
use super::model::CausalLm;
use super::packing::{Packing, check_inputs};
use crate::ModelError;

/// How many sequences are generated together: enough for the matrix products, and a bound on the cache.
const GROUP: usize = 64;

impl CausalLm {
    /// Continues every prompt until it ends or its response has as many tokens as it may.
    ///
    /// Each prompt has its own generator, so what is drawn for one does not depend on the others. A response ends with
    /// the end token, where one was drawn.
    ///
    /// # Errors
    /// An empty prompt, tokens that the model does not know, a prompt beyond the model's positions, settings that make
    /// no sense, logits that are not finite, fewer generators than prompts.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        rngs: &mut [Rng],
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        let longest = vec![sampling.max_new; prompts.len()];
        self.generate_within(prompts, &longest, sampling, rngs)
    }

    /// As [`CausalLm::generate`], with a limit for each prompt's response in place of one for all.
    ///
    /// # Errors
    /// As [`CausalLm::generate`].
    pub fn generate_within(
        &self,
        prompts: &[Vec<u32>],
        longest: &[usize],
        sampling: &Sampling,
        rngs: &mut [Rng],
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        sampling.check()?;
        if rngs.len() != prompts.len() {
            return Err(ModelError::Argument {
                what: "the generators".into(),
                expected: format!("one for each of {} prompts", prompts.len()),
                got: rngs.len().to_string(),
            });
        }
        for (index, prompt) in prompts.iter().enumerate() {
            check_inputs(self.limits(), index, prompt.len(), prompt)?;
        }
        let mut responses = Vec::with_capacity(prompts.len());
        for (group, prompts) in prompts.chunks(GROUP).enumerate() {
            let begin = group * GROUP;
            let range = begin..begin + prompts.len();
            responses.extend(self.continue_group(prompts, &longest[range.clone()], sampling, &mut rngs[range])?);
        }
        Ok(responses)
    }

    fn continue_group(
        &self,
        prompts: &[Vec<u32>],
        longest: &[usize],
        sampling: &Sampling,
        rngs: &mut [Rng],
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        let room = |index: usize| longest[index].min(self.config().max_positions + 1 - prompts[index].len());
        let mut live: Vec<usize> = (0..prompts.len()).filter(|&index| room(index) > 0).collect();
        let mut responses = vec![Vec::new(); prompts.len()];
        if live.is_empty() {
            return Ok(responses);
        }
        let (mut cache, hidden) =
            self.decoder.prefill(&live.iter().map(|&i| prompts[i].clone()).collect::<Vec<_>>())?;
        let mut logits = host_logits(&self.decoder.logits(&hidden, Pass::Scoring)?)?;
        loop {
            let mut stays = Vec::with_capacity(live.len());
            for (&index, logits) in live.iter().zip(&logits) {
                let response = &mut responses[index];
                let token = sampling
                    .draw(logits, &mut rngs[index])
                    .ok_or_else(|| ModelError::not_finite("a logit", index, response.len(), f64::NAN))?;
                response.push(token);
                stays.push(!sampling.eos.contains(&token) && response.len() < room(index));
            }
            cache.keep(&stays);
            let mut stay = stays.iter();
            live.retain(|_| *stay.next().unwrap_or(&false));
            if live.is_empty() {
                return Ok(responses);
            }
            let last = |&index: &usize| responses[index].last().copied().unwrap_or_default();
            let tokens: Vec<u32> = live.iter().map(last).collect();
            let position = |&index: &usize| (prompts[index].len() + responses[index].len() - 1) as u32;
            let positions: Vec<u32> = live.iter().map(position).collect();
            let reading = Reading { tokens: &tokens, positions: &positions, rows: None };
            let hidden = self.decoder.hidden(reading, &mut cache, Pass::Scoring)?;
            logits = host_logits(&self.decoder.logits(&hidden, Pass::Scoring)?)?;
        }
    }
}

pub(super) fn host_logits(logits: &Tensor) -> Result<Vec<Vec<f32>>, ModelError> {
    Ok(logits.to_dtype(DType::F32)?.to_vec2::<f32>()?)
}

impl Decoder {
    /// Reads prompts, each shared prefix once, into a cache for each; also the last hidden state of each,
    /// `[prompts, width]`.
    fn prefill(&self, prompts: &[Vec<u32>]) -> Result<(Cache, Tensor), EngineError> {
        let packing = Packing::of_prefixes(prompts);
        let mut recorder = Recorder { forest: Arc::clone(&packing.forest), layers: Vec::new() };
        let hidden = self.hidden(packing.reading(), &mut recorder, Pass::Scoring)?;
        let kept_row = |&query: &u32| packing.queries[query as usize].0;
        let kept: Vec<u32> = packing.query_of.iter().map(kept_row).collect();
        let hidden = engine::ops::embedding(&kept, &hidden)?;
        let width = self.heads().key_value * self.heads().size;
        let gather = |all: &[f32], row: u32| -> Vec<f32> {
            packing.path(row).flat_map(|rows| &all[rows.start * width..rows.end * width]).copied().collect()
        };
        let layers = recorder.layers.iter().map(|(keys, values)| {
            let sequences = kept.iter().map(|&kept| {
                let row = packing.rows[kept as usize];
                Sequence { keys: gather(keys, row), values: gather(values, row) }
            });
            sequences.collect()
        });
        Ok((Cache { layers: layers.collect() }, hidden))
    }
}

/// Keys and values of everything the live sequences have read.
#[derive(Debug)]
struct Cache {
    /// By layer, then by sequence.
    layers: Vec<Vec<Sequence>>,
}

#[derive(Debug)]
struct Sequence {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// Drops the sequences that have ended.
    fn keep(&mut self, stays: &[bool]) {
        for layer in &mut self.layers {
            let mut stay = stays.iter();
            layer.retain(|_| *stay.next().unwrap_or(&false));
        }
    }
}

/// One new token of every live sequence.
impl Attend for Cache {
    fn attend(&mut self, layer: usize, heads: Heads, projection: Projection) -> Result<Tensor, EngineError> {
        let [queries, keys, values] = split(projection, heads)?;
        let (keys, values) = (flat(&keys)?, flat(&values)?);
        let width = heads.key_value * heads.size;
        let sequences = &mut self.layers[layer];
        for (index, sequence) in sequences.iter_mut().enumerate() {
            let row = index * width..(index + 1) * width;
            sequence.keys.extend_from_slice(&keys[row.clone()]);
            sequence.values.extend_from_slice(&values[row]);
        }
        let caches: Vec<CachedSequence<'_>> = sequences
            .iter()
            .map(|sequence| CachedSequence { keys: &sequence.keys, values: &sequence.values })
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
