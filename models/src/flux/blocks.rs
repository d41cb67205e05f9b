//! The blocks: two streams of rows that attend to each other, then one, modulated by time and caption.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Heads, block_attention};

use super::config::FluxConfig;
use super::places::Places;
use crate::modulation::{Rows, feed_forward, joint_rows, parts, with_norm};
use crate::network::Layers;

/// Epsilon of every norm, a constant in diffusers.
const EPSILON: f64 = 1e-6;

/// One block of a config: `FluxTransformerBlock`, or `FluxSingleTransformerBlock` behind those.
#[derive(Clone, Copy, Debug)]
pub(super) struct FluxBlock<'a> {
    pub(super) config: &'a FluxConfig,
    pub(super) places: &'a Places,
    pub(super) layers: Layers<'a>,
    /// The index among the blocks of its kind.
    pub(super) layer: usize,
}

/// Queries, keys and values of one stream.
type Projected = [Tensor; 3];

impl FluxBlock<'_> {
    /// Both streams after a block of two: patches, captions.
    pub(super) fn double(
        &self,
        patches: &Tensor,
        caption: &Tensor,
        time: &Tensor,
    ) -> Result<(Tensor, Tensor), EngineError> {
        let (of_patches, of_caption) = (&self.places.patch_ends, &self.places.caption_ends);
        let part = |name: &str| format!("transformer_blocks.{}.{name}", self.layer);
        let own = self.modulation(&part("norm1"), time, 6)?;
        let other = self.modulation(&part("norm1_context"), time, 6)?;
        let project = |read: &Tensor| self.project(read, &part("attn"), ["to_q", "to_k", "to_v"], ["norm_q", "norm_k"]);
        let own_qkv = with_norm(rows(patches, of_patches), (&own[1], &own[0]), project)?;
        let names = ["add_q_proj", "add_k_proj", "add_v_proj"];
        let project = |told: &Tensor| self.project(told, &part("attn"), names, ["norm_added_q", "norm_added_k"]);
        let other_qkv = with_norm(rows(caption, of_caption), (&other[1], &other[0]), project)?;
        let joint = own_qkv.into_iter().zip(other_qkv).map(|(own, other)| joint_rows(&self.places.joint, own, other));
        let joint = joint.collect::<Result<Vec<Tensor>, EngineError>>()?;
        let seen = self.attend(&joint[0], &joint[1], &joint[2])?;
        let by_patches = ops::embedding(&self.places.patches_of_joint, &seen)?;
        let by_caption = ops::embedding(&self.places.captions_of_joint, &seen)?;
        let by_patches = self.layers.linear(&by_patches, &part("attn.to_out.0"))?;
        let by_caption = self.layers.linear(&by_caption, &part("attn.to_add_out"))?;
        let patches = ops::gated_add(patches, &by_patches, &own[2], of_patches)?;
        let caption = ops::gated_add(caption, &by_caption, &other[2], of_caption)?;
        let patches = self.feed_forward(&patches, &part("ff"), &own, of_patches)?;
        Ok((patches, self.feed_forward(&caption, &part("ff_context"), &other, of_caption)?))
    }

    /// The joint rows after a block of one stream, whose attention and feed-forward network read the same rows.
    pub(super) fn single(&self, x: &Tensor, time: &Tensor) -> Result<Tensor, EngineError> {
        let (layers, ends) = (self.layers, &self.places.joint_ends);
        let part = |name: &str| format!("single_transformer_blocks.{}.{name}", self.layer);
        let modulation = self.modulation(&part("norm"), time, 3)?;
        let read_twice = |read: &Tensor| {
            let qkv = self.project(read, &part("attn"), ["to_q", "to_k", "to_v"], ["norm_q", "norm_k"])?;
            Ok((qkv, layers.linear(read, &part("proj_mlp"))?))
        };
        let ([q, k, v], wide) = with_norm(rows(x, ends), (&modulation[1], &modulation[0]), read_twice)?;
        let seen = self.attend(&q, &k, &v)?;
        let concat = |x: &[Tensor]| ops::concat(&x[0], &ops::gelu_tanh(&x[1])?);
        let both = ops::remade(&[&seen, &wide], concat, |both| layers.linear(both, &part("proj_out")))?;
        Ok(ops::gated_add(x, &both, &modulation[2], ends)?)
    }

    /// The rows of both streams, image by image.
    pub(super) fn joint(&self, patches: &Tensor, caption: &Tensor) -> Result<Tensor, EngineError> {
        Ok(ops::embedding(&self.places.joint, &Tensor::cat(&[patches, caption], 0)?)?)
    }

    /// The vectors of each image that modulate a stream; of six: shift, scale and gate of the attention, then those of
    /// the feed-forward network.
    fn modulation(&self, norm: &str, time: &Tensor, n: usize) -> Result<Vec<Tensor>, EngineError> {
        parts(&self.layers.linear(time, &format!("{norm}.linear"))?, n)
    }

    /// Attention of each image's joint rows, turned by their places.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor, EngineError> {
        let (n_heads, size) = (self.config.n_heads, self.config.head_size);
        let turned = |x: &Tensor| ops::axial_rope(x, &self.places.angles, n_heads, size);
        let heads = Heads { query: n_heads, key_value: n_heads, size };
        Ok(block_attention(&turned(q)?, &turned(k)?, v, heads, &self.places.joint_blocks)?)
    }

    fn project(
        &self,
        x: &Tensor,
        attention: &str,
        names: [&str; 3],
        [norm_q, norm_k]: [&str; 2],
    ) -> Result<Projected, EngineError> {
        let [q, k, v] = names.map(|name| self.layers.linear(x, &format!("{attention}.{name}")));
        let by_head = |x: Tensor, norm: &str| self.by_head(&x, &format!("{attention}.{norm}"));
        Ok([by_head(q?, norm_q)?, by_head(k?, norm_k)?, v?])
    }

    /// Normalises queries or keys head by head.
    fn by_head(&self, x: &Tensor, norm: &str) -> Result<Tensor, EngineError> {
        let (rows, width) = x.dims2()?;
        let heads = x.reshape((rows * self.config.n_heads, self.config.head_size))?;
        Ok(self.layers.rms_norm(&heads, norm, EPSILON)?.reshape((rows, width))?)
    }

    /// The feed-forward network of a stream, with the last three of its six vectors.
    fn feed_forward(
        &self,
        x: &Tensor,
        network: &str,
        modulation: &[Tensor],
        ends: &Arc<[usize]>,
    ) -> Result<Tensor, EngineError> {
        let wide = |read: &Tensor| self.layers.linear(read, &format!("{network}.net.0.proj"));
        let narrow = |inner: &Tensor| self.layers.linear(inner, &format!("{network}.net.2"));
        feed_forward(rows(x, ends), modulation, wide, ops::gelu_tanh, narrow)
    }
}

/// A stream with the end of each image's rows.
pub(super) fn rows<'a>(x: &'a Tensor, ends: &'a Arc<[usize]>) -> Rows<'a> {
    Rows { x, ends, epsilon: EPSILON }
}
