//! The blocks: attention of patches to themselves and to the caption, and feed-forward networks, modulated by the time.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Block, Heads, block_attention};

use super::config::{DitActivation, DitConditioning, DitConfig};
use super::rows::Rows;
use crate::modulation::{Rows as Stream, feed_forward, with_norm};
use crate::network::Layers;

/// Epsilon of DiT's first norm in a block and of the last norm of both, a constant in diffusers.
pub(super) const EPSILON: f64 = 1e-6;

/// One block of a config (`BasicTransformerBlock`).
#[derive(Clone, Copy, Debug)]
pub(super) struct PatchBlock<'a> {
    pub(super) config: &'a DitConfig,
    pub(super) rows: &'a Rows,
    pub(super) layers: Layers<'a>,
    pub(super) layer: usize,
}

impl PatchBlock<'_> {
    /// The patches after the block. `modulation` has six vectors for each image: shift, scale and gate of the attention,
    /// then those of the feed-forward network.
    pub(super) fn run(
        &self,
        patches: &Tensor,
        captions: Option<&Tensor>,
        modulation: &[Tensor],
    ) -> Result<Tensor, EngineError> {
        let (ends, rows) = (&self.rows.ends, self.rows);
        let first = match self.config.told {
            DitConditioning::Captions { .. } => self.config.epsilon,
            DitConditioning::Classes { .. } => EPSILON,
        };
        let own = |read: &Tensor| self.attend(read, read, &rows.own, "attn1");
        let stream = Stream { x: patches, ends, epsilon: first };
        let seen = with_norm(stream, (&modulation[1], &modulation[0]), own)?;
        let mut x = ops::gated_add(patches, &seen, &modulation[2], ends)?;
        if let Some(captions) = captions {
            x = ops::add_into(self.attend(&x, captions, &rows.captions, "attn2")?, &x)?;
        }
        let activate = match self.config.activation {
            DitActivation::GeluTanh => ops::gelu_tanh,
            DitActivation::Gelu => ops::gelu,
        };
        let (wide, narrow) = (|x: &Tensor| self.linear(x, "ff.net.0.proj"), |x: &Tensor| self.linear(x, "ff.net.2"));
        feed_forward(Stream { x: &x, ends, epsilon: self.config.epsilon }, modulation, wide, activate, narrow)
    }

    /// The name of a part of the block.
    pub(super) fn name(&self, part: &str) -> String {
        format!("transformer_blocks.{}.{part}", self.layer)
    }

    fn linear(&self, x: &Tensor, part: &str) -> Result<Tensor, EngineError> {
        self.layers.linear(x, &self.name(part))
    }

    /// Attention of the rows of `x` to those of `seen`. A caption that images share is projected once.
    fn attend(&self, x: &Tensor, seen: &Tensor, blocks: &Arc<[Block]>, part: &str) -> Result<Tensor, EngineError> {
        let n_heads = self.config.n_heads;
        let heads = Heads { query: n_heads, key_value: n_heads, size: self.config.head_size };
        let q = self.linear(x, &format!("{part}.to_q"))?;
        let k = self.linear(seen, &format!("{part}.to_k"))?;
        let v = self.linear(seen, &format!("{part}.to_v"))?;
        self.linear(&block_attention(&q, &k, &v, heads, blocks)?, &format!("{part}.to_out.0"))
    }
}
