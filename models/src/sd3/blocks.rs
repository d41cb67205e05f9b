//! The blocks: two streams of rows that attend to each other, modulated by time and caption.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Block, Heads, block_attention};

use super::config::Sd3Config;
use super::streams::Streams;
use crate::modulation::{Rows, feed_forward, joint_rows, parts, with_norm};
use crate::network::Layers;

/// Epsilon of every norm, a constant in diffusers.
const EPSILON: f64 = 1e-6;

/// One block of a config (`JointTransformerBlock`).
#[derive(Clone, Copy, Debug)]
pub(super) struct JointBlock<'a> {
    pub(super) config: &'a Sd3Config,
    pub(super) streams: &'a Streams,
    pub(super) layers: Layers<'a>,
    pub(super) layer: usize,
}

/// Queries, keys and values of one stream.
type Projected = [Tensor; 3];

impl JointBlock<'_> {
    /// The streams after the block; the last block ends the caption's.
    pub(super) fn run(
        &self,
        patches: &Tensor,
        caption: &Tensor,
        time: &Tensor,
    ) -> Result<(Tensor, Option<Tensor>), EngineError> {
        let (is_last, is_dual) = (self.config.is_last(self.layer), self.config.dual_layers.contains(&self.layer));
        let (of_patches, of_caption) = (&self.streams.patch_ends, &self.streams.caption_ends);
        let own = self.modulation("norm1", time, if is_dual { 9 } else { 6 })?;
        let other = self.modulation("norm1_context", time, if is_last { 2 } else { 6 })?;
        let names = ["to_q", "to_k", "to_v"];
        let project = |read: &Tensor| self.project(read, "attn", names, ["norm_q", "norm_k"]);
        let own_qkv = with_norm(rows(patches, of_patches), (&own[1], &own[0]), project)?;
        // The last block's norm has its scale before its shift.
        let scale_and_shift = if is_last { (&other[0], &other[1]) } else { (&other[1], &other[0]) };
        let project = |told: &Tensor| {
            self.project(told, "attn", ["add_q_proj", "add_k_proj", "add_v_proj"], ["norm_added_q", "norm_added_k"])
        };
        let other_qkv = with_norm(rows(caption, of_caption), scale_and_shift, project)?;
        let (seen, seen_by_caption) = self.joint_attention(own_qkv, other_qkv)?;
        let mut x = ops::gated_add(patches, &seen, &own[2], of_patches)?;
        if is_dual {
            let seen = with_norm(rows(patches, of_patches), (&own[7], &own[6]), |read| self.own_attention(read))?;
            x = ops::gated_add(&x, &seen, &own[8], of_patches)?;
        }
        let x = self.feed_forward(&x, "ff", &own, of_patches)?;
        let Some(seen_by_caption) = seen_by_caption else { return Ok((x, None)) };
        let caption = ops::gated_add(caption, &seen_by_caption, &other[2], of_caption)?;
        Ok((x, Some(self.feed_forward(&caption, "ff_context", &other, of_caption)?)))
    }

    fn name(&self, part: &str) -> String {
        format!("transformer_blocks.{}.{part}", self.layer)
    }

    fn linear(&self, x: &Tensor, part: &str) -> Result<Tensor, EngineError> {
        self.layers.linear(x, &self.name(part))
    }

    /// The vectors of each image that modulate a stream; of six: shift, scale and gate of the attention, then those of
    /// the feed-forward network.
    fn modulation(&self, norm: &str, time: &Tensor, n: usize) -> Result<Vec<Tensor>, EngineError> {
        parts(&self.linear(time, &format!("{norm}.linear"))?, n)
    }

    /// Attention of both streams to both, and its projection to each; the last block's caption gets none.
    fn joint_attention(&self, own: Projected, other: Projected) -> Result<(Tensor, Option<Tensor>), EngineError> {
        let streams = self.streams;
        let mut joint = Vec::with_capacity(3);
        for (own, other) in own.into_iter().zip(other) {
            joint.push(joint_rows(&streams.joint, own, other)?);
        }
        let seen = self.attend(&joint[0], &joint[1], &joint[2], &streams.joint_blocks)?;
        let of_patches = ops::embedding(&streams.patches_of_joint, &seen)?;
        let of_patches = self.linear(&of_patches, "attn.to_out.0")?;
        if self.config.is_last(self.layer) {
            return Ok((of_patches, None));
        }
        let of_caption = ops::embedding(&streams.captions_of_joint, &seen)?;
        Ok((of_patches, Some(self.linear(&of_caption, "attn.to_add_out")?)))
    }

    /// Attention of each image's patches to themselves.
    fn own_attention(&self, patches: &Tensor) -> Result<Tensor, EngineError> {
        let [q, k, v] = self.project(patches, "attn2", ["to_q", "to_k", "to_v"], ["norm_q", "norm_k"])?;
        self.linear(&self.attend(&q, &k, &v, &self.streams.patch_blocks)?, "attn2.to_out.0")
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, blocks: &Arc<[Block]>) -> Result<Tensor, EngineError> {
        let n_heads = self.config.n_heads;
        let heads = Heads { query: n_heads, key_value: n_heads, size: self.config.head_size };
        Ok(block_attention(q, k, v, heads, blocks)?)
    }

    fn project(
        &self,
        x: &Tensor,
        attention: &str,
        names: [&str; 3],
        [norm_q, norm_k]: [&str; 2],
    ) -> Result<Projected, EngineError> {
        let [q, k, v] = names.map(|name| self.linear(x, &format!("{attention}.{name}")));
        let (q, k) = (self.by_head(q?, attention, norm_q)?, self.by_head(k?, attention, norm_k)?);
        Ok([q, k, v?])
    }

    /// Normalises queries or keys head by head, if the model does so.
    fn by_head(&self, x: Tensor, attention: &str, norm: &str) -> Result<Tensor, EngineError> {
        if !self.config.has_norms {
            return Ok(x);
        }
        let (rows, width) = x.dims2()?;
        let heads = x.reshape((rows * self.config.n_heads, self.config.head_size))?;
        let normal = self.layers.rms_norm(&heads, &self.name(&format!("{attention}.{norm}")), EPSILON)?;
        Ok(normal.reshape((rows, width))?)
    }

    /// The feed-forward network of a stream, with the last three of its six vectors.
    fn feed_forward(
        &self,
        x: &Tensor,
        part: &str,
        modulation: &[Tensor],
        ends: &Arc<[usize]>,
    ) -> Result<Tensor, EngineError> {
        let wide = |read: &Tensor| self.linear(read, &format!("{part}.net.0.proj"));
        let narrow = |inner: &Tensor| self.linear(inner, &format!("{part}.net.2"));
        feed_forward(rows(x, ends), modulation, wide, ops::gelu_tanh, narrow)
    }
}

/// A stream with the end of each image's rows.
pub(super) fn rows<'a>(x: &'a Tensor, ends: &'a Arc<[usize]>) -> Rows<'a> {
    Rows { x, ends, epsilon: EPSILON }
}
