//! A block: attention and a gated feed-forward network, each between two norms, modulated by the time.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Heads, block_attention};

use super::config::{Stack, ZImageConfig};
use super::rows::Stream;
use crate::network::Layers;

/// Epsilon of the norms of queries and keys, a constant in diffusers.
const HEAD_EPSILON: f64 = 1e-5;

/// One block of a stack (`ZImageTransformerBlock`).
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamBlock<'a> {
    pub(super) config: &'a ZImageConfig,
    pub(super) stream: &'a Stream,
    pub(super) layers: Layers<'a>,
    pub(super) stack: Stack,
    pub(super) layer: usize,
}

impl StreamBlock<'_> {
    /// The stream after the block; `time` is that of each group, which a stack without modulation does not read.
    pub(super) fn run(&self, x: &Tensor, time: &Tensor) -> Result<Tensor, EngineError> {
        if !self.stack.is_modulated() {
            let seen = self.with_norm(x, "attention_norm1", |read| self.attention(read))?;
            let x = ops::add_into(self.norm(&seen, "attention_norm2")?, x)?;
            let inner = self.with_norm(&x, "ffn_norm1", |read| self.feed_forward(read))?;
            return Ok(ops::add_into(self.norm(&inner, "ffn_norm2")?, &x)?);
        }
        let ends = &self.stream.ends;
        let [scale, gate, inner_scale, inner_gate] = quarters(&self.linear(time, "adaLN_modulation.0")?)?;
        // `read (1 + scale)`
        let scaled = |read: Tensor, scale: &Tensor| ops::gated_add(&read, &read, scale, ends);
        let seen = self.attention(&scaled(self.norm(x, "attention_norm1")?, &scale)?)?;
        let x = ops::gated_add(x, &self.norm(&seen, "attention_norm2")?, &ops::tanh(&gate)?, ends)?;
        let inner = self.feed_forward(&scaled(self.norm(&x, "ffn_norm1")?, &inner_scale)?)?;
        Ok(ops::gated_add(&x, &self.norm(&inner, "ffn_norm2")?, &ops::tanh(&inner_gate)?, ends)?)
    }

    fn name(&self, part: &str) -> String {
        self.stack.name(self.layer, part)
    }

    fn linear(&self, x: &Tensor, part: &str) -> Result<Tensor, EngineError> {
        self.layers.linear(x, &self.name(part))
    }

    fn norm(&self, x: &Tensor, part: &str) -> Result<Tensor, EngineError> {
        self.layers.rms_norm(x, &self.name(part), self.config.norm_epsilon)
    }

    /// [`norm`](Self::norm) for one use, after which its memory is free until the backward pass.
    fn with_norm<R>(
        &self,
        x: &Tensor,
        part: &str,
        used: impl FnOnce(&Tensor) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        self.layers.with_rms_norm((x, &self.name(part), self.config.norm_epsilon), used)
    }

    fn attention(&self, x: &Tensor) -> Result<Tensor, EngineError> {
        let (n_heads, size) = (self.config.n_heads, self.config.head_size());
        let heads = Heads { query: n_heads, key_value: n_heads, size };
        let [q, k] = [("to_q", "norm_q"), ("to_k", "norm_k")].map(|(layer, norm)| -> Result<Tensor, EngineError> {
            let x = self.by_head(self.linear(x, &format!("attention.{layer}"))?, norm)?;
            Ok(ops::axial_rope(&x, &self.stream.rope, n_heads, size)?)
        });
        let v = self.linear(x, "attention.to_v")?;
        self.linear(&block_attention(&q?, &k?, &v, heads, &self.stream.blocks)?, "attention.to_out.0")
    }

    /// Normalises queries or keys head by head, if the model does so.
    fn by_head(&self, x: Tensor, norm: &str) -> Result<Tensor, EngineError> {
        if !self.config.has_norms {
            return Ok(x);
        }
        let (rows, width) = x.dims2()?;
        let heads = x.reshape((rows * self.config.n_heads, self.config.head_size()))?;
        let normal = self.layers.rms_norm(&heads, &self.name(&format!("attention.{norm}")), HEAD_EPSILON)?;
        Ok(normal.reshape((rows, width))?)
    }

    fn feed_forward(&self, x: &Tensor) -> Result<Tensor, EngineError> {
        let (gate, up) = (self.linear(x, "feed_forward.w1")?, self.linear(x, "feed_forward.w3")?);
        ops::remade(&[&gate, &up], |x| ops::swiglu(&x[0], &x[1]), |inner| self.linear(inner, "feed_forward.w2"))
    }
}

/// Splits the columns into four equal parts.
fn quarters(x: &Tensor) -> Result<[Tensor; 4], EngineError> {
    let width = x.dim(1)? / 4;
    let part = |part: usize| -> Result<Tensor, EngineError> { Ok(x.narrow(1, part * width, width)?.contiguous()?) };
    Ok([part(0)?, part(1)?, part(2)?, part(3)?])
}
