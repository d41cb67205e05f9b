//! Transformers over the pixels of an image, with cross-attention to its caption.

use std::sync::Arc;

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Block, Convolution, Grid, Heads, NormActivation, block_attention};

use super::{captions, own_pixels};
use crate::image_batch::Contexts;
use crate::network::{GroupNorm, LayerShapes, Layers};

/// Epsilon of the layer norms, a constant in diffusers.
const EPSILON: f64 = 1e-5;

/// A norm, an input projection, blocks, an output projection and a residual connection (`Transformer2DModel`).
#[derive(Clone, Debug)]
pub(in crate::unet) struct Transformer {
    pub(in crate::unet) name: String,
    pub(in crate::unet) width: usize,
    pub(in crate::unet) n_heads: usize,
    pub(in crate::unet) n_layers: usize,
    /// Width of the caption's hidden states.
    pub(in crate::unet) context: usize,
    pub(in crate::unet) n_groups: usize,
    /// Whether the projections are linear layers rather than 1x1 convolutions.
    pub(in crate::unet) linear_projection: bool,
    /// Whether the first attention of a block is cross-attention to the caption too.
    pub(in crate::unet) only_caption: bool,
}

/// The attention patterns of a block.
struct Sight<'a> {
    contexts: &'a Contexts,
    captions: Arc<[Block]>,
    pixels: Arc<[Block]>,
    heads: Heads,
}

impl Transformer {
    pub(in crate::unet) fn add_shapes(&self, shapes: &mut LayerShapes) {
        let (name, width) = (&self.name, self.width);
        shapes.norm(&format!("{name}.norm"), width);
        for part in ["proj_in", "proj_out"].map(|part| format!("{name}.{part}")) {
            if self.linear_projection {
                shapes.linear(&part, width, width);
            } else {
                shapes.convolution(&part, width, 1, width);
            }
        }
        for layer in 0..self.n_layers {
            self.add_layer_shapes(shapes, &self.layer_name(layer));
        }
    }

    fn add_layer_shapes(&self, shapes: &mut LayerShapes, name: &str) {
        let width = self.width;
        for norm in ["norm1", "norm2", "norm3"] {
            shapes.norm(&format!("{name}.{norm}"), width);
        }
        let first = if self.only_caption { self.context } else { width };
        for (attention, read) in [("attn1", first), ("attn2", self.context)] {
            let part = |part: &str| format!("{name}.{attention}.{part}");
            shapes.matrix(&part("to_q"), width, width);
            shapes.matrix(&part("to_k"), width, read);
            shapes.matrix(&part("to_v"), width, read);
            shapes.linear(&part("to_out.0"), width, width);
        }
        shapes.linear(&format!("{name}.ff.net.0.proj"), 8 * width, width);
        shapes.linear(&format!("{name}.ff.net.2"), width, 4 * width);
    }

    fn layer_name(&self, layer: usize) -> String {
        format!("{}.transformer_blocks.{layer}", self.name)
    }

    pub(in crate::unet) fn run(
        &self,
        x: &Tensor,
        contexts: &Contexts,
        grid: Grid,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        let norm = GroupNorm { n_groups: self.n_groups, epsilon: 1e-6 };
        let name = format!("{}.norm", self.name);
        let mut hidden = layers.with_group_norm((x, &name, norm), grid, NormActivation::None, |read| {
            self.project(read, "proj_in", grid, layers)
        })?;
        let heads = Heads { query: self.n_heads, key_value: self.n_heads, size: self.width / self.n_heads };
        let (captions, pixels) = (captions(grid, &contexts.of_image), own_pixels(grid));
        let sight = Sight { contexts, captions, pixels, heads };
        for layer in 0..self.n_layers {
            hidden = self.layer(&hidden, &self.layer_name(layer), &sight, layers)?;
        }
        Ok(ops::add_into(self.project(&hidden, "proj_out", grid, layers)?, x)?)
    }

    fn project(&self, x: &Tensor, part: &str, grid: Grid, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        let name = format!("{}.{part}", self.name);
        if self.linear_projection {
            layers.linear(x, &name)
        } else {
            layers.convolution(x, &name, grid, Convolution::same(1))
        }
    }

    /// `BasicTransformerBlock`.
    fn layer(&self, x: &Tensor, name: &str, sight: &Sight<'_>, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        let part = |part: &str| format!("{name}.{part}");
        let blocks = if self.only_caption { &sight.captions } else { &sight.pixels };
        let first = |read: &Tensor| {
            let seen = if self.only_caption { &sight.contexts.rows } else { read };
            projections(read, seen, &part("attn1"), layers)
        };
        let projected = layers.with_layer_norm((x, &part("norm1"), EPSILON), first)?;
        let x = ops::add_into(attend(&projected, blocks, &part("attn1"), sight.heads, layers)?, x)?;
        let second = |read: &Tensor| projections(read, &sight.contexts.rows, &part("attn2"), layers);
        let projected = layers.with_layer_norm((&x, &part("norm2"), EPSILON), second)?;
        let x = ops::add_into(attend(&projected, &sight.captions, &part("attn2"), sight.heads, layers)?, &x)?;
        let narrow = |inner: &Tensor| layers.linear(inner, &part("ff.net.2"));
        let gated = |wide: &Tensor| ops::remade(&[wide], |x| ops::geglu(&x[0]), narrow);
        let inner = layers.with_projected_norm((&x, &part("norm3"), EPSILON), &part("ff.net.0.proj"), gated)?;
        Ok(ops::add_into(inner, &x)?)
    }
}

/// Queries of the rows of `x`, keys and values of those of `seen`. A caption shared by several images is projected once.
fn projections(x: &Tensor, seen: &Tensor, name: &str, layers: Layers<'_>) -> Result<[Tensor; 3], EngineError> {
    let q = layers.linear(x, &format!("{name}.to_q"))?;
    let k = layers.linear(seen, &format!("{name}.to_k"))?;
    Ok([q, k, layers.linear(seen, &format!("{name}.to_v"))?])
}

/// Attention of queries to keys, and its projection.
fn attend(
    [q, k, v]: &[Tensor; 3],
    blocks: &Arc<[Block]>,
    name: &str,
    heads: Heads,
    layers: Layers<'_>,
) -> Result<Tensor, EngineError> {
    layers.linear(&block_attention(q, k, v, heads, blocks)?, &format!("{name}.to_out.0"))
}
