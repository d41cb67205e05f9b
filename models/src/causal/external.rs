//! Language models that another library computes.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::Parameters;
use engine::transfer::from_host;
use serde_json::Value;

use super::config::{Activation, CausalConfig, Layer, Layers, Scales};
use super::decoder::Decoder;
use super::family::Family;
use super::packing::Packing;
use super::token_batch::{ExternalSizes, TokenBatch};
use crate::ModelError;
use crate::external::{External, ExternalTape, Running, host};

/// The family of external models, which has no tensors of its own.
static EXTERNAL: Family = Family { model_type: "external", ..Family::LLAMA };

/// Tokens per pass; bounds the memory of logits.
const TOKENS: usize = 4096;

impl CausalConfig {
    /// The config of a model that another library computes. `source` is its settings' file.
    pub fn external(network: External<TokenBatch>, sizes: ExternalSizes, source: Value) -> Self {
        Self {
            family: &EXTERNAL,
            vocabulary: sizes.vocabulary,
            width: 0,
            n_layers: 0,
            layers: Layers::Alike(Layer::FULL),
            n_query_heads: 1,
            n_key_value_heads: 1,
            head_size: 1,
            inner: 0,
            max_positions: sizes.max_positions,
            norm_epsilon: 0.0,
            activation: Activation::Gelu,
            tied: false,
            parallel_residual: false,
            qkv_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            rotary: None,
            local_rotary: None,
            scales: Scales::PLAIN,
            bos: sizes.bos,
            eos: sizes.eos,
            external: Some(network),
            source,
        }
    }
}

/// The batches of a packing, and the places of their rows among the packing's.
struct Batches {
    batches: Vec<TokenBatch>,
    /// For each batch: the index in the packing's rows of each wanted place.
    rows: Vec<Vec<usize>>,
}

impl Batches {
    /// Sequences of one length stand together, so nothing is padded; one that begins another is read with it.
    fn of(packing: &Packing) -> Self {
        let mut place_of: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        let mut sequences: Vec<Vec<u32>> = Vec::new();
        // A row stands before those that continue it, so what is not covered by a later one begins a sequence.
        for &row in packing.rows.iter().rev() {
            if place_of.contains_key(&row) {
                continue;
            }
            let path: Vec<usize> = packing.path(row).flatten().collect();
            for (position, &row) in path.iter().enumerate() {
                place_of.entry(row as u32).or_insert((sequences.len(), position));
            }
            sequences.push(path.into_iter().map(|row| packing.tokens[row]).collect());
        }
        let mut wanted: Vec<Vec<(usize, usize)>> = vec![Vec::new(); sequences.len()];
        for (index, row) in packing.rows.iter().enumerate() {
            let (sequence, position) = place_of[row];
            wanted[sequence].push((position, index));
        }
        let mut order: Vec<usize> = (0..sequences.len()).rev().collect();
        order.sort_by_key(|&sequence| sequences[sequence].len());
        let mut all = Self { batches: Vec::new(), rows: Vec::new() };
        for sequence in order {
            all.push(&sequences[sequence], &wanted[sequence]);
        }
        all
    }

    /// Adds a sequence, to the last batch if it has its length and room.
    fn push(&mut self, tokens: &[u32], wanted: &[(usize, usize)]) {
        let fits = |batch: &TokenBatch| batch.length == tokens.len() && batch.tokens.len() + tokens.len() <= TOKENS;
        if !self.batches.last().is_some_and(fits) {
            self.batches.push(TokenBatch { length: tokens.len(), ..TokenBatch::default() });
            self.rows.push(Vec::new());
        }
        if let (Some(batch), Some(rows)) = (self.batches.last_mut(), self.rows.last_mut()) {
            let sequence = batch.n();
            batch.tokens.extend_from_slice(tokens);
            batch.wanted.extend(wanted.iter().map(|&(position, _)| (sequence, position)));
            rows.extend(wanted.iter().map(|&(_, row)| row));
        }
    }

    /// The logits of all rows of the packing, `[rows, vocabulary]`, from those of the batches.
    fn gather(&self, outputs: &[Vec<f32>], (n, vocabulary): (usize, usize)) -> Result<Tensor, ModelError> {
        let mut logits = vec![0.0; n * vocabulary];
        for ((rows, output), batch) in self.rows.iter().zip(outputs).zip(&self.batches) {
            if output.len() != batch.wanted.len() * vocabulary {
                let expected = format!("{} places of {vocabulary} logits", batch.wanted.len());
                let got = format!("{} numbers", output.len());
                return Err(ModelError::Argument { what: "the network's output".into(), expected, got });
            }
            for (&row, numbers) in rows.iter().zip(output.chunks_exact(vocabulary)) {
                logits[row * vocabulary..(row + 1) * vocabulary].copy_from_slice(numbers);
            }
        }
        Ok(from_host(logits, (n, vocabulary), &Device::Cpu)?)
    }
}

/// The recorded passes of a packing.
#[derive(Debug)]
pub(super) struct RecordedLogits {
    passes: Vec<Box<dyn ExternalTape>>,
    rows: Vec<Vec<usize>>,
    vocabulary: usize,
}

impl RecordedLogits {
    /// Passes the slopes of the logits to `add`, pass by pass, as slopes of tensors.
    pub(super) fn backward(
        self,
        of_logits: &Tensor,
        add: &mut dyn FnMut(crate::external::NamedNumbers) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let (slopes, width) = (host(of_logits)?, self.vocabulary);
        for (pass, rows) in self.passes.into_iter().zip(self.rows) {
            let own: Vec<f32> =
                rows.into_iter().flat_map(|row| &slopes[row * width..(row + 1) * width]).copied().collect();
            add(pass.backward(&own)?)?;
        }
        Ok(())
    }
}

/// The passes of an external decoder.
#[derive(Debug)]
pub(super) struct ExternalDecoder<'a> {
    running: &'a Running<TokenBatch>,
    parameters: &'a Parameters,
    vocabulary: usize,
}

impl Decoder {
    /// The passes of another library, if one computes this network.
    pub(super) fn external(&self) -> Option<ExternalDecoder<'_>> {
        let running = self.running.as_ref()?;
        Some(ExternalDecoder { running, parameters: &self.weights.parameters, vocabulary: self.config.vocabulary })
    }
}

impl ExternalDecoder<'_> {
    /// The logits of a packing's rows, `[rows, vocabulary]`.
    pub(super) fn logits(&self, packing: &Packing) -> Result<Tensor, ModelError> {
        let batches = Batches::of(packing);
        let outputs = self.running.run(self.parameters, &batches.batches)?;
        batches.gather(&outputs, (packing.rows.len(), self.vocabulary))
    }

    /// The same, recorded.
    pub(super) fn record(&self, packing: &Packing) -> Result<(Tensor, RecordedLogits), ModelError> {
        let batches = Batches::of(packing);
        let (outputs, passes) = self.running.record(self.parameters, &batches.batches)?;
        let logits = batches.gather(&outputs, (packing.rows.len(), self.vocabulary))?;
        Ok((logits, RecordedLogits { passes, rows: batches.rows, vocabulary: self.vocabulary }))
    }
}
