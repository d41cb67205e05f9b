//! One decoder for all architectures: the config says which norm, which projections, which residual.

use engine::EngineError;
use engine::ops::{
    self, Forest, Heads, Pairing, QkvLayout, Rope, RopeScaling, VocabularyQuery, WeightLayout, vocabulary_log_prob,
};

use std::sync::Arc;

use candle_core::Tensor;

use super::config::{Activation, CausalConfig};
use super::names::BlockNames;
use super::rotary::{Rotary, RotaryScaling};
use crate::network::{Layers, Network, Weights};

pub(super) use crate::network::Pass;

/// A decoder's shape and its numbers.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(super) config: CausalConfig,
    pub(super) weights: Weights,
    names: Vec<BlockNames>,
    rope: Option<Rope>,
}

/// Queries, keys and values, positions already in them.
#[derive(Debug)]
pub(super) enum Projection {
    /// One tensor `[T, (query + 2 key_value) * size]`.
    Packed(Tensor, QkvLayout),
    /// Queries `[T, query * size]`, keys and values `[T, key_value * size]`.
    Split([Tensor; 3]),
}

/// The attention between the tokens of a pass.
pub(super) trait Attend {
    /// The attention of one layer, `[T, query * size]`.
    fn attend(&mut self, layer: usize, heads: Heads, projection: Projection) -> Result<Tensor, EngineError>;
}

/// Tokens of a forest of prefixes.
impl Attend for &Arc<Forest> {
    fn attend(&mut self, _layer: usize, heads: Heads, projection: Projection) -> Result<Tensor, EngineError> {
        Ok(match projection {
            Projection::Packed(packed, layout) => ops::forest_attention_packed(&packed, heads, layout, self)?,
            Projection::Split([q, k, v]) => ops::forest_attention(&q, &k, &v, heads, self)?,
        })
    }
}

/// The tokens a pass reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct DecoderInput<'a> {
    pub(super) tokens: &'a [u32],
    pub(super) positions: &'a [u32],
    /// The rows whose last hidden state is wanted, where not all are.
    pub(super) rows: Option<&'a [u32]>,
}

impl Decoder {
    pub(super) fn new(config: CausalConfig, weights: Weights) -> Self {
        let names = (0..config.n_layers).map(|layer| config.block_names(layer)).collect();
        let rope = config.rotary.map(rope_of);
        Self { config, weights, names, rope }
    }

    pub(super) fn heads(&self) -> Heads {
        let config = &self.config;
        Heads { query: config.n_query_heads, key_value: config.n_key_value_heads, size: config.head_size }
    }

    /// Hidden states after the last norm, `[rows, width]`, in one go.
    pub(super) fn hidden(
        &self,
        reading: DecoderInput<'_>,
        attend: &mut dyn Attend,
        pass: Pass,
    ) -> Result<Tensor, EngineError> {
        let mut x = self.embed(reading, pass)?;
        for layer in 0..self.config.n_layers {
            x = self.block(layer, &x, reading, attend, pass)?;
        }
        self.last_norm(&x, pass)
    }

    /// The residual stream before the first block, `[T, width]`.
    pub(super) fn embed(&self, reading: DecoderInput<'_>, pass: Pass) -> Result<Tensor, EngineError> {
        let layers = self.layers(pass);
        let table = layers.tensor(&self.config.embedding_name())?;
        let x = ops::embedding(reading.tokens, &table)?;
        match self.config.positions_name() {
            None => Ok(x),
            Some(name) => Ok(ops::add(&x, &ops::embedding(reading.positions, &layers.tensor(&name)?)?)?),
        }
    }

    /// One block on the residual stream.
    ///
    /// The last one goes on with the wanted rows only as soon as attention has read all of them.
    pub(super) fn block(
        &self,
        layer: usize,
        x: &Tensor,
        reading: DecoderInput<'_>,
        attend: &mut dyn Attend,
        pass: Pass,
    ) -> Result<Tensor, EngineError> {
        let names = &self.names[layer];
        let read = self.norm(x, &names.attention_norm, pass)?;
        let projection = self.project(&read, names, reading.positions, pass)?;
        let mut attended = attend.attend(layer, self.heads(), projection)?;
        let mut x = x.clone();
        if let (true, Some(rows)) = (layer + 1 == self.config.n_layers, reading.rows) {
            (x, attended) = (ops::embedding(rows, &x)?, ops::embedding(rows, &attended)?);
        }
        let attended = self.layers(pass).linear(&attended, &names.attention_output)?;
        let after = ops::add(&x, &attended)?;
        let read = if self.config.parallel_residual { &x } else { &after };
        let read = self.norm(read, &names.mlp_norm, pass)?;
        Ok(ops::add(&after, &self.mlp(&read, names, pass)?)?)
    }

    /// The norm after the last block.
    pub(super) fn last_norm(&self, x: &Tensor, pass: Pass) -> Result<Tensor, EngineError> {
        self.norm(x, &self.config.final_norm_name(), pass)
    }

    /// The matrix that turns hidden states into logits, `[vocabulary, width]`.
    pub(super) fn vocabulary_matrix(&self, pass: Pass) -> Result<Tensor, EngineError> {
        if self.config.tied {
            return self.layers(pass).tensor(&self.config.embedding_name());
        }
        self.layers(pass).tensor(self.config.head_name())
    }

    /// Logits of hidden states, `[rows, vocabulary]`; for the few rows that are drawn from.
    pub(super) fn logits(&self, hidden: &Tensor, pass: Pass) -> Result<Tensor, EngineError> {
        Ok(ops::linear(hidden, &self.vocabulary_matrix(pass)?, None, WeightLayout::OutIn)?)
    }

    /// The numbers of each query, `[N, VOCABULARY_NUMBERS]`: see [`vocabulary_log_prob`].
    pub(super) fn numbers(
        &self,
        hidden: &Tensor,
        query: VocabularyQuery<'_>,
        pass: Pass,
    ) -> Result<Tensor, EngineError> {
        Ok(vocabulary_log_prob(hidden, &self.vocabulary_matrix(pass)?, query)?)
    }

    fn layers(&self, pass: Pass) -> Layers<'_> {
        Layers { weights: &self.weights, pass, layout: self.layout() }
    }

    fn norm(&self, x: &Tensor, name: &str, pass: Pass) -> Result<Tensor, EngineError> {
        let (layers, epsilon) = (self.layers(pass), self.config.norm_epsilon);
        if self.config.has_layer_norm() {
            layers.layer_norm(x, name, epsilon)
        } else {
            layers.rms_norm(x, name, epsilon)
        }
    }

    /// The memory layout of the linear weights.
    pub(super) fn layout(&self) -> WeightLayout {
        if self.config.is_transposed() { WeightLayout::InOut } else { WeightLayout::OutIn }
    }

    fn project(
        &self,
        x: &Tensor,
        names: &BlockNames,
        positions: &[u32],
        pass: Pass,
    ) -> Result<Projection, EngineError> {
        let (heads, layers) = (self.heads(), self.layers(pass));
        let Some(rope) = &self.rope else {
            return Ok(Projection::Packed(layers.linear(x, &names.qkv[0])?, QkvLayout::Blocks));
        };
        if let [packed] = names.qkv.as_slice() {
            let packed = layers.linear(x, packed)?;
            let packed = ops::rope_packed(&packed, positions, heads, QkvLayout::PerHead, rope)?;
            return Ok(Projection::Packed(packed, QkvLayout::PerHead));
        }
        let [q, k, v] = [0, 1, 2].map(|part| layers.linear(x, &names.qkv[part]));
        let q = ops::rope(&q?, positions, heads.query, heads.size, rope)?;
        let k = ops::rope(&k?, positions, heads.key_value, heads.size, rope)?;
        Ok(Projection::Split([q, k, v?]))
    }

    fn mlp(&self, x: &Tensor, names: &BlockNames, pass: Pass) -> Result<Tensor, EngineError> {
        let layers = self.layers(pass);
        let up = layers.linear(x, &names.up)?;
        let inner = match &names.gate {
            None => activate(&up, self.config.activation)?,
            Some(gate) => {
                let gate = layers.linear(x, gate)?;
                match self.config.activation {
                    Activation::Silu => ops::swiglu(&gate, &up)?,
                    other => (activate(&gate, other)? * up)?,
                }
            }
        };
        layers.linear(&inner, &names.down)
    }
}

impl Network for Decoder {
    const NAME: &'static str = "model";

    fn weights(&self) -> &Weights {
        &self.weights
    }
}

fn activate(x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Gelu => ops::gelu(x),
        Activation::GeluTanh => ops::gelu_tanh(x),
        Activation::Silu => ops::silu(x),
    }
}

fn rope_of(rotary: Rotary) -> Rope {
    let scaling = match rotary.scaling {
        RotaryScaling::Default => RopeScaling::None,
        RotaryScaling::Linear { factor } => RopeScaling::Linear { factor },
        RotaryScaling::Llama3 { factor, low_frequency, high_frequency, original_context } => {
            RopeScaling::Llama3 { factor, low_frequency, high_frequency, original_context }
        }
    };
    Rope::new(rotary.base, rotary.rotated, Pairing::Halves, scaling)
}
