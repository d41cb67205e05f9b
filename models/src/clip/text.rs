//! The text encoder.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::ops::{self, AttentionForm, Forest};
use engine::transfer::to_host;

use super::ClipTextConfig;
use super::encoder::Encoder;
use crate::ModelError;
use crate::input_limits::Limits;
use crate::tensors;

/// Texts per batch.
const TEXTS_AT_ONCE: usize = 16;

/// A frozen CLIP text encoder: `CLIPTextModel` or `CLIPTextModelWithProjection` of transformers.
#[derive(Debug)]
pub struct ClipText {
    config: ClipTextConfig,
    encoder: Encoder,
}

/// The encoder's output for one text of L tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipOutput {
    /// The last hidden states after the final norm, `[L, width]`, row-major.
    pub last: Vec<f32>,
    /// The hidden states before the last block, without a norm, `[L, width]`.
    pub penultimate: Vec<f32>,
    /// The last hidden state of the EOS token, `[width]`.
    pub pooled: Vec<f32>,
    /// The projection of the pooled state, `[projection]`, if the class has one.
    pub projected: Option<Vec<f32>>,
}

impl ClipText {
    /// Makes an encoder from its config and the tensors of [`ClipTextConfig::tensor_shapes`].
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn new(config: ClipTextConfig, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(config.class(), &config.tensor_shapes(), &tensors)?;
        Ok(Self { encoder: Encoder::new(config.blocks(), tensors)?, config })
    }

    /// The encoder's config.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Encodes texts. Padding tokens are not masked: the tokenizer adds them if the denoiser was trained with them.
    ///
    /// # Errors
    /// A text that is empty or too long, a token outside the vocabulary.
    pub fn encode(&self, texts: &[Vec<u32>]) -> Result<Vec<ClipOutput>, ModelError> {
        let ClipTextConfig { vocabulary, max_positions, .. } = self.config;
        Limits { vocabulary, max_positions }.check_texts(texts)?;
        let mut outputs = Vec::with_capacity(texts.len());
        for batch in texts.chunks(TEXTS_AT_ONCE) {
            self.encode_batch(batch, &mut outputs)?;
        }
        Ok(outputs)
    }

    fn encode_batch(&self, texts: &[Vec<u32>], outputs: &mut Vec<ClipOutput>) -> Result<(), ModelError> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let forest = Arc::new(Forest::chains(&lengths));
        let tokens: Vec<u32> = texts.concat();
        let embedded = ops::embedding(&tokens, self.encoder.weight("embeddings.token_embedding")?)?;
        let places = ops::embedding(&forest.positions(), self.encoder.weight("embeddings.position_embedding")?)?;
        let mut x = ops::add(&embedded, &places)?;
        let mut penultimate = x.clone();
        let form = AttentionForm::default();
        for layer in 0..self.config.n_layers {
            penultimate = x;
            x = self
                .encoder
                .block(&penultimate, layer, |q, k, v, heads| ops::forest_attention(q, k, v, heads, form, &forest))?;
        }
        let last = self.encoder.norm(&x, "final_layer_norm")?;
        let ends = forest.segments.iter().zip(texts).map(|(s, text)| (s.start + self.end(text)) as u32);
        let pooled = ops::embedding(&ends.collect::<Vec<_>>(), &last)?;
        let projected = match self.config.projection {
            Some(_) => Some(self.encoder.linear(&pooled, "text_projection")?),
            None => None,
        };
        let rows = |x: &Tensor, start, n| to_host::<f32>(&x.narrow(0, start, n)?);
        for (index, segment) in forest.segments.iter().enumerate() {
            outputs.push(ClipOutput {
                last: rows(&last, segment.start, segment.len)?,
                penultimate: rows(&penultimate, segment.start, segment.len)?,
                pooled: rows(&pooled, index, 1)?,
                projected: projected.as_ref().map(|projected| rows(projected, index, 1)).transpose()?,
            });
        }
        Ok(())
    }

    /// The index of the pooled token; 0 if it is absent, as in transformers.
    fn end(&self, text: &[u32]) -> usize {
        let end = if self.config.eos == 2 { text.iter().max().copied().unwrap_or(0) } else { self.config.eos };
        text.iter().position(|&token| token == end).unwrap_or(0)
    }
}
