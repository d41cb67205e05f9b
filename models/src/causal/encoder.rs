//! Language models as encoders of texts: hidden states instead of a vocabulary.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::ops::Forest;
use engine::transfer::to_host;

use super::config::CausalConfig;
use super::decoder::{Decoder, DecoderInput, Pass};
use crate::ModelError;
use crate::input_limits::Limits;
use crate::network::Weights;
use crate::tensors;

/// Tokens per batch, unless one text has more.
const TOKENS_AT_ONCE: usize = 8192;

/// A frozen decoder that is read before its last block: `hidden_states[-2]` of transformers, as pipelines of images
/// read their language model. The last block, the last norm and the output matrix are not kept.
#[derive(Debug)]
pub struct CausalEncoder {
    decoder: Decoder,
}

impl CausalEncoder {
    /// Makes an encoder from a model's config and the tensors of [`CausalConfig::encoder_tensors`].
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn new(mut config: CausalConfig, mut tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(config.family.model_type(), &config.encoder_tensors(), &tensors)?;
        config.tied = true;
        config.n_layers -= 1;
        let read = config.expected_tensors();
        tensors.retain(|name, _| read.contains_key(name));
        Ok(Self { decoder: Decoder::new(config, Weights::frozen(tensors)?) })
    }

    /// The width of a token's state.
    pub fn width(&self) -> usize {
        self.decoder.config.width
    }

    /// The number of tokens that it can read.
    pub fn vocabulary(&self) -> usize {
        self.decoder.config.vocabulary
    }

    /// The maximum number of tokens of a text.
    pub fn max_positions(&self) -> usize {
        self.decoder.config.max_positions
    }

    /// The hidden states of texts, `[tokens, width]` each, row-major.
    ///
    /// # Errors
    /// A text that is empty or too long, a token outside the vocabulary.
    pub fn encode(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        Limits { vocabulary: self.vocabulary(), max_positions: self.max_positions() }.check_texts(texts)?;
        let mut states = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |text: &&Vec<u32>| {
                tokens += text.len();
                tokens <= TOKENS_AT_ONCE
            };
            let n = rest.iter().take_while(fits).count().max(1);
            self.encode_batch(&rest[..n], &mut states)?;
            rest = &rest[n..];
        }
        Ok(states)
    }

    fn encode_batch(&self, texts: &[Vec<u32>], states: &mut Vec<Vec<f32>>) -> Result<(), ModelError> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let forest = Arc::new(Forest::chains(&lengths));
        let (tokens, positions) = (texts.concat(), forest.positions());
        let reading = DecoderInput { tokens: &tokens, positions: &positions, rows: None };
        let mut x = self.decoder.embed(reading, Pass::Scoring)?;
        for layer in 0..self.decoder.config.n_layers {
            x = self.decoder.block(layer, &x, reading, &mut &forest, Pass::Scoring)?;
        }
        let mut start = 0;
        for length in lengths {
            states.push(to_host(&x.narrow(0, start, length)?)?);
            start += length;
        }
        Ok(())
    }
}
