//! The encoder.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{D, Tensor};
use engine::Parameters;
use engine::ops::{self, WeightLayout};
use engine::transfer::to_host;

use super::config::{T5Activation, T5Config};
use crate::ModelError;
use crate::input_limits::Limits;
use crate::tensors;

/// Texts per batch.
const TEXTS_AT_ONCE: usize = 8;

/// A frozen T5 encoder: `T5EncoderModel` of transformers.
#[derive(Debug)]
pub struct T5Encoder {
    config: T5Config,
    parameters: Parameters,
}

impl T5Encoder {
    /// Makes an encoder from its config and the tensors of [`T5Config::tensor_shapes`].
    ///
    /// # Errors
    /// Tensors that are missing, unknown or of the wrong shape.
    pub fn new(config: T5Config, tensors: BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        tensors::check(T5Config::CLASS, &config.tensor_shapes(), &tensors)?;
        Ok(Self { config, parameters: Parameters::frozen(tensors)? })
    }

    /// The encoder's config.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// The last hidden states of texts, `[tokens, width]` each, row-major. Padding tokens are not masked: the pipeline of
    /// Stable Diffusion 3 reads them too.
    ///
    /// # Errors
    /// An empty text, a token outside the vocabulary.
    pub fn encode(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        Limits { vocabulary: self.config.vocabulary, max_positions: usize::MAX }.check_texts(texts)?;
        let mut outputs = Vec::with_capacity(texts.len());
        for batch in texts.chunks(TEXTS_AT_ONCE) {
            let last = self.hidden(batch)?;
            let mut start = 0;
            for text in batch {
                outputs.push(to_host(&last.narrow(0, start, text.len())?)?);
                start += text.len();
            }
        }
        Ok(outputs)
    }

    /// The hidden states of all texts, one after the other.
    fn hidden(&self, texts: &[Vec<u32>]) -> Result<Tensor, ModelError> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let distinct: BTreeSet<usize> = lengths.iter().copied().collect();
        let biases = distinct.into_iter().map(|length| Ok((length, self.position_bias(length)?)));
        let biases = biases.collect::<Result<BTreeMap<_, _>, ModelError>>()?;
        let mut x = ops::embedding(&texts.concat(), self.parameters.get("shared.weight")?)?;
        for layer in 0..self.config.n_layers {
            let name = |part: &str| format!("encoder.block.{layer}.layer.{part}");
            let read = self.norm(&x, &name("0.layer_norm"))?;
            let seen = self.attention(&read, &name("0.SelfAttention"), &lengths, &biases)?;
            x = ops::add(&x, &seen)?;
            let read = self.norm(&x, &name("1.layer_norm"))?;
            x = ops::add(&x, &self.feed_forward(&read, &name("1.DenseReluDense"))?)?;
        }
        self.norm(&x, "encoder.final_layer_norm")
    }

    /// Attention within each text, with a bias for each relative position and without a scale.
    fn attention(
        &self,
        x: &Tensor,
        name: &str,
        lengths: &[usize],
        biases: &BTreeMap<usize, Tensor>,
    ) -> Result<Tensor, ModelError> {
        let [q, k, v] = ["q", "k", "v"].map(|part| self.linear(x, &format!("{name}.{part}")));
        let (q, k, v) = (q?, k?, v?);
        let (n_heads, size) = (self.config.n_heads, self.config.head_size);
        let (mut start, mut parts) = (0, Vec::with_capacity(lengths.len()));
        for &length in lengths {
            let heads = |x: &Tensor| -> Result<Tensor, ModelError> {
                let rows = x.narrow(0, start, length)?.reshape((length, n_heads, size))?;
                Ok(rows.transpose(0, 1)?.contiguous()?)
            };
            let scores = heads(&q)?.matmul(&heads(&k)?.t()?)?;
            let scores = (scores + &biases[&length])?;
            let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
            let seen = weights.matmul(&heads(&v)?)?.transpose(0, 1)?.contiguous()?;
            parts.push(seen.reshape((length, n_heads * size))?);
            start += length;
        }
        self.linear(&Tensor::cat(&parts, 0)?, &format!("{name}.o"))
    }

    fn feed_forward(&self, x: &Tensor, name: &str) -> Result<Tensor, ModelError> {
        let part = |part: &str| self.linear(x, &format!("{name}.{part}"));
        let inner = match self.config.activation {
            T5Activation::Relu => part("wi")?.relu()?,
            T5Activation::GatedGelu => (ops::gelu_tanh(&part("wi_0")?)? * part("wi_1")?)?,
            T5Activation::GatedSilu => ops::swiglu(&part("wi_0")?, &part("wi_1")?)?,
        };
        self.linear(&inner, &format!("{name}.wo"))
    }

    /// The bias of each head for every pair of positions, `[heads, length, length]`.
    fn position_bias(&self, length: usize) -> Result<Tensor, ModelError> {
        let table = self.parameters.get("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")?;
        let of_pair = |at: usize| bucket(&self.config, (at % length) as i64 - (at / length) as i64);
        let buckets: Vec<u32> = (0..length * length).map(of_pair).collect();
        let biases = ops::embedding(&buckets, table)?;
        Ok(biases.reshape((length, length, self.config.n_heads))?.permute((2, 0, 1))?.contiguous()?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor, ModelError> {
        Ok(ops::rms_norm(x, self.parameters.get(&format!("{name}.weight"))?, self.config.norm_epsilon)?)
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, ModelError> {
        Ok(ops::linear(x, self.parameters.get(&format!("{name}.weight"))?, None, WeightLayout::OutIn)?)
    }
}

/// The bucket of a key's position relative to a query's: the second half of the buckets for keys after it; in each half
/// the first half for single distances, the rest for distances that grow geometrically up to the maximum.
fn bucket(config: &T5Config, relative: i64) -> u32 {
    let half = config.n_buckets / 2;
    let exact = half / 2;
    let distance = relative.unsigned_abs() as usize;
    let of_distance = if distance < exact {
        distance
    } else {
        // In f32, as transformers computes it: a distance at a bound may fall to either side.
        let share = (distance as f32 / exact as f32).ln() / (config.max_distance as f64 / exact as f64).ln() as f32;
        (exact + (share * (half - exact) as f32) as usize).min(half - 1)
    };
    (of_distance + if relative > 0 { half } else { 0 }) as u32
}
