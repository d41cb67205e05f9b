//! Self-attention over the pixels of an image.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Grid, Heads, NormActivation, block_attention};

use super::own_pixels;
use crate::network::{GroupNorm, LayerShapes, Layers};

/// A norm, attention and a residual connection (`Attention` of diffusers' blocks without a caption).
#[derive(Clone, Debug)]
pub(in crate::unet) struct PixelAttention {
    pub(in crate::unet) name: String,
    pub(in crate::unet) width: usize,
    pub(in crate::unet) head_size: usize,
    pub(in crate::unet) norm: GroupNorm,
    /// The divisor of the residual sum.
    pub(in crate::unet) scale: f64,
}

impl PixelAttention {
    pub(in crate::unet) fn add_shapes(&self, shapes: &mut LayerShapes) {
        shapes.norm(&format!("{}.group_norm", self.name), self.width);
        for part in ["to_q", "to_k", "to_v", "to_out.0"] {
            shapes.linear(&format!("{}.{part}", self.name), self.width, self.width);
        }
    }

    pub(in crate::unet) fn run(&self, x: &Tensor, grid: Grid, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        let part = |part: &str| format!("{}.{part}", self.name);
        let [q, k, v] =
            layers.with_group_norm((x, &part("group_norm"), self.norm), grid, NormActivation::None, |read| {
                Ok(["to_q", "to_k", "to_v"].map(|name| layers.linear(read, &part(name))))
            })?;
        let n_heads = self.width / self.head_size;
        let heads = Heads { query: n_heads, key_value: n_heads, size: self.head_size };
        let attended = block_attention(&q?, &k?, &v?, heads, &own_pixels(grid))?;
        let sum = ops::add_into(layers.linear(&attended, &part("to_out.0"))?, x)?;
        Ok(if self.scale == 1. { sum } else { (sum / self.scale)? })
    }
}
