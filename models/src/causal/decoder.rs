//! One decoder for all families: the config says which norms, which projections, which residual, which span of each layer.

use engine::EngineError;
use engine::ops::{
    self, AttentionForm, Forest, Heads, Matrix, QkvLayout, Rope, VocabularyQuery, WeightLayout, vocabulary_log_prob,
};

use std::sync::Arc;

use candle_core::Tensor;

use super::config::{Activation, CausalConfig, LayerPositions};
use super::family::{Gate, HeadNorm, NormKind, Packing};
use super::names::BlockNames;
use super::rotary::Rotary;
use super::token_batch::TokenBatch;
use crate::external::Running;
use crate::network::{Layers, Network, Weights};

pub(super) use crate::network::Pass;

/// A decoder's shape and its numbers.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(super) config: CausalConfig,
    pub(super) weights: Weights,
    names: Vec<BlockNames>,
    rope: Option<Rope>,
    /// That of sliding layers, where they have their own.
    local_rope: Option<Rope>,
    /// The network, where another library computes it.
    pub(super) running: Option<Running<TokenBatch>>,
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
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        form: AttentionForm,
        projection: Projection,
    ) -> Result<Tensor, EngineError>;
}

/// Tokens of a forest of prefixes.
impl Attend for &Arc<Forest> {
    fn attend(
        &mut self,
        _layer: usize,
        heads: Heads,
        form: AttentionForm,
        projection: Projection,
    ) -> Result<Tensor, EngineError> {
        Ok(match projection {
            Projection::Packed(packed, layout) => ops::forest_attention_packed(&packed, heads, form, layout, self)?,
            Projection::Split([q, k, v]) => ops::forest_attention(&q, &k, &v, heads, form, self)?,
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
        let [rope, local_rope] =
            [&config.rotary, &config.local_rotary].map(|rotary| rotary.as_ref().map(Rotary::angles));
        let running = config.external.clone().map(Running::new);
        Self { config, weights, names, rope, local_rope, running }
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
        let x = layers.rows(&self.config.embedding_name(), reading.tokens)?;
        let x = scaled(x, self.config.scales.embedding)?;
        match self.config.positions_name() {
            None => Ok(x),
            Some(name) => Ok(ops::add(&x, &layers.rows(&name, reading.positions)?)?),
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
        let (names, residual) = (&self.names[layer], self.config.scales.residual);
        let project = |read: &Tensor| self.project(layer, read, reading.positions, pass);
        let projection = self.with_norm(x, names.attention_norm.as_deref(), pass, project)?;
        let mut attended = attend.attend(layer, self.heads(), self.config.attention_form(layer), projection)?;
        let mut x = x.clone();
        if let (true, Some(rows)) = (layer + 1 == self.config.n_layers, reading.rows) {
            (x, attended) = (ops::embedding(rows, &x)?, ops::embedding(rows, &attended)?);
        }
        let attended = self.layers(pass).linear(&attended, &names.attention_output)?;
        let attended = self.norm(&attended, names.after_attention.as_deref(), pass)?;
        let after = ops::add_into(scaled(attended, residual)?, &x)?;
        let read = if self.config.parallel_residual { &x } else { &after };
        let inner = self.with_norm(read, names.mlp_norm.as_deref(), pass, |read| self.mlp(read, names, pass))?;
        let inner = self.norm(&inner, names.after_mlp.as_deref(), pass)?;
        Ok(ops::add_into(scaled(inner, residual)?, &after)?)
    }

    /// The norm after the last block.
    pub(super) fn last_norm(&self, x: &Tensor, pass: Pass) -> Result<Tensor, EngineError> {
        self.norm(x, Some(&self.config.final_norm_name()), pass)
    }

    /// The matrix that turns hidden states into logits, `[vocabulary, width]`.
    pub(super) fn vocabulary_matrix(&self, pass: Pass) -> Result<Matrix, EngineError> {
        if self.config.tied {
            return self.layers(pass).matrix(&self.config.embedding_name());
        }
        self.layers(pass).matrix(self.config.head_name())
    }

    /// Logits of hidden states, `[rows, vocabulary]`; for the few rows that are drawn from.
    pub(super) fn logits(&self, hidden: &Tensor, pass: Pass) -> Result<Tensor, EngineError> {
        let logits = self.vocabulary_matrix(pass)?.linear(hidden, None, WeightLayout::OutIn)?;
        let form = self.config.scales.logits;
        let logits = scaled(logits, form.scale)?;
        match form.cap {
            None => Ok(logits),
            Some(cap) => Ok(((logits / cap)?.tanh()? * cap)?),
        }
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

    /// Applies a norm to each row; without a name, the rows as they are.
    fn norm(&self, x: &Tensor, name: Option<&str>, pass: Pass) -> Result<Tensor, EngineError> {
        let Some(name) = name else { return Ok(x.clone()) };
        let (layers, epsilon) = (self.layers(pass), self.config.norm_epsilon);
        match self.config.family.norm {
            NormKind::Layer => layers.layer_norm(x, name, epsilon),
            NormKind::Rms => layers.rms_norm(x, name, epsilon),
            NormKind::RmsPlusOne => Ok(ops::rms_norm(x, &(layers.tensor(&format!("{name}.weight"))? + 1.0)?, epsilon)?),
        }
    }

    /// [`norm`](Self::norm) for one use, after which its memory is free until the backward pass.
    fn with_norm<R>(
        &self,
        x: &Tensor,
        name: Option<&str>,
        pass: Pass,
        used: impl FnOnce(&Tensor) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let Some(name) = name else { return used(x) };
        let (layers, epsilon) = (self.layers(pass), self.config.norm_epsilon);
        match self.config.family.norm {
            NormKind::Layer => layers.with_layer_norm((x, name, epsilon), used),
            NormKind::Rms => layers.with_rms_norm((x, name, epsilon), used),
            NormKind::RmsPlusOne => {
                let weight = (layers.tensor(&format!("{name}.weight"))? + 1.0)?;
                ops::remade(&[x, &weight], move |x| ops::rms_norm(&x[0], &x[1], epsilon), used)
            }
        }
    }

    /// Applies the norm of queries or keys.
    fn head_norm(&self, x: &Tensor, name: Option<&str>, pass: Pass) -> Result<Tensor, EngineError> {
        match self.config.family.head_norm {
            HeadNorm::PerHead if name.is_some() => {
                let (dims, size) = (x.dims2()?, self.config.head_size);
                let heads = x.reshape((dims.0 * dims.1 / size, size))?;
                Ok(self.norm(&heads, name, pass)?.reshape(dims)?)
            }
            HeadNorm::PerHead | HeadNorm::Whole => self.norm(x, name, pass),
        }
    }

    /// The memory layout of the linear weights.
    pub(super) fn layout(&self) -> WeightLayout {
        self.config.layout()
    }

    /// The rotary embedding of a layer.
    fn rope(&self, layer: usize) -> Option<&Rope> {
        match self.config.layers.at(layer).positions {
            LayerPositions::Unrotated => None,
            LayerPositions::Rotary => self.rope.as_ref(),
            LayerPositions::Local => self.local_rope.as_ref(),
        }
    }

    fn project(&self, layer: usize, x: &Tensor, positions: &[u32], pass: Pass) -> Result<Projection, EngineError> {
        let (heads, layers, names) = (self.heads(), self.layers(pass), &self.names[layer]);
        if let [packed] = names.qkv.as_slice() {
            let layout = match self.config.family.packing {
                Packing::PerHead => QkvLayout::PerHead,
                Packing::Blocks => QkvLayout::Blocks,
            };
            let packed = layers.linear(x, packed)?;
            let packed = match self.rope(layer) {
                None => packed,
                Some(rope) => {
                    let turned = ops::rope_packed(&packed, positions, heads, layout, rope)?;
                    ops::let_go(packed)?;
                    turned
                }
            };
            return Ok(Projection::Packed(packed, layout));
        }
        let [q, k, v] = [0, 1, 2].map(|part| layers.linear(x, &names.qkv[part]));
        let q = self.head_norm(&q?, names.query_norm.as_deref(), pass)?;
        let k = self.head_norm(&k?, names.key_norm.as_deref(), pass)?;
        let Some(rope) = self.rope(layer) else { return Ok(Projection::Split([q, k, v?])) };
        let turned = |x: Tensor, n_heads: usize| -> Result<Tensor, EngineError> {
            let turned = ops::rope(&x, positions, n_heads, heads.size, rope)?;
            ops::let_go(x)?;
            Ok(turned)
        };
        Ok(Projection::Split([turned(q, heads.query)?, turned(k, heads.key_value)?, v?]))
    }

    fn mlp(&self, x: &Tensor, names: &BlockNames, pass: Pass) -> Result<Tensor, EngineError> {
        let (layers, inner, activation) = (self.layers(pass), self.config.inner, self.config.activation);
        let up = layers.linear(x, &names.up)?;
        let down = |inner: &Tensor| layers.linear(inner, &names.down);
        let gated = move |x: &[Tensor]| gated(&x[0], &x[1], activation);
        match (&names.gate, self.config.family.gate) {
            (None, Gate::Fused) => ops::remade(&[&up.narrow(1, 0, inner)?, &up.narrow(1, inner, inner)?], gated, down),
            (None, Gate::None | Gate::Split) => ops::remade(&[&up], move |x| activate(&x[0], activation), down),
            (Some(gate), _) => ops::remade(&[&layers.linear(x, gate)?, &up], gated, down),
        }
    }
}

impl Network for Decoder {
    const NAME: &'static str = "model";

    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn weights_changed(&self) {
        self.running.iter().for_each(Running::weights_changed);
    }
}

/// The activated gate times the other projection.
fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Silu => ops::swiglu(gate, up),
        other @ (Activation::Gelu | Activation::GeluTanh) => activate(gate, other)? * up,
    }
}

fn activate(x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Gelu => ops::gelu(x),
        Activation::GeluTanh => ops::gelu_tanh(x),
        Activation::Silu => ops::silu(x),
    }
}

/// A tensor times a constant; itself for 1.
fn scaled(x: Tensor, factor: f64) -> candle_core::Result<Tensor> {
    if factor == 1.0 { Ok(x) } else { x * factor }
}
