//! Reward models: decoders with a scalar head.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use engine::ops::{self, Forest, WeightLayout};
use engine::transfer::to_host;

use super::config::CausalConfig;
use super::decoder::{Decoder, DecoderInput, Pass};
use super::names::SCORE;
use crate::ModelError;
use crate::input_limits::Limits;
use crate::network::Weights;
use crate::tensors;

/// Tokens per batch, unless one text has more.
const TOKENS_AT_ONCE: usize = 8192;

/// A reward model: a causal decoder with a linear head of one output on the last hidden state. It is transformers'
/// `LlamaForSequenceClassification` (and similar classes) with one label, as TRL's `RewardTrainer` writes it.
#[derive(Debug)]
pub struct RewardModel {
    decoder: Decoder,
    score: Tensor,
    padding: Option<u32>,
}

impl RewardModel {
    /// Makes a reward model from its config and the tensors of [`CausalConfig::reward_tensors`].
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn new(config: CausalConfig, mut tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        let what = format!("{} reward", config.family.model_type());
        tensors::check(&what, &config.reward_tensors(), &tensors)?;
        let missing = || ModelError::config(SCORE, "is missing");
        let score = tensors.remove(SCORE).ok_or_else(missing)?;
        let padding = config.source["pad_token_id"].as_u64().and_then(|id| u32::try_from(id).ok());
        Ok(Self { decoder: Decoder::new(config, Weights::frozen(tensors)?), score, padding })
    }

    /// The maximum number of tokens of a text.
    pub fn max_positions(&self) -> usize {
        self.decoder.config.max_positions
    }

    /// The reward of each text, at its last token that is not padding, as in transformers. If the padding token is EOS,
    /// that is the token before EOS.
    ///
    /// # Errors
    /// A text that is empty or too long, a token outside the vocabulary.
    pub fn score(&self, texts: &[Vec<u32>]) -> Result<Vec<f64>, ModelError> {
        let vocabulary = self.decoder.config.vocabulary;
        Limits { vocabulary, max_positions: self.max_positions() }.check_texts(texts)?;
        let mut rewards = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |text: &&Vec<u32>| {
                tokens += text.len();
                tokens <= TOKENS_AT_ONCE
            };
            let n = rest.iter().take_while(fits).count().max(1);
            rewards.extend(self.score_batch(&rest[..n])?);
            rest = &rest[n..];
        }
        Ok(rewards)
    }

    fn score_batch(&self, texts: &[Vec<u32>]) -> Result<Vec<f64>, ModelError> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let forest = Arc::new(Forest::chains(&lengths));
        let last = |text: &[u32]| text.iter().rposition(|token| Some(*token) != self.padding).unwrap_or(0);
        let rows: Vec<u32> = forest.segments.iter().zip(texts).map(|(s, text)| (s.start + last(text)) as u32).collect();
        let (tokens, positions) = (texts.concat(), forest.positions());
        let reading = DecoderInput { tokens: &tokens, positions: &positions, rows: Some(&rows) };
        let hidden = self.decoder.hidden(reading, &mut &forest, Pass::Scoring)?;
        let rewards = ops::linear(&hidden, &self.score, None, WeightLayout::OutIn)?;
        Ok(to_host(&rewards)?)
    }
}
