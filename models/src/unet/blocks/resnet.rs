//! Residual block with timestep conditioning.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Convolution, Grid, NormActivation};

use super::mean_of_four;
use crate::network::{GroupNorm, LayerShapes, Layers};

/// Two convolutions with norms before them, the timestep embedding added in between, and a residual connection
/// (`ResnetBlock2D`).
#[derive(Clone, Debug)]
pub(in crate::unet) struct Resnet {
    pub(in crate::unet) name: String,
    pub(in crate::unet) n_in: usize,
    pub(in crate::unet) n_out: usize,
    /// Width of the timestep embedding.
    pub(in crate::unet) time: usize,
    pub(in crate::unet) norm: GroupNorm,
    /// The divisor of the residual sum.
    pub(in crate::unet) scale: f64,
    pub(in crate::unet) change: Change,
}

/// The size change of a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::unet) enum Change {
    None,
    /// Downsampling by 2x2 average pooling.
    Down,
    /// Nearest-neighbour upsampling.
    Up,
}

impl Resnet {
    pub(in crate::unet) fn add_shapes(&self, shapes: &mut LayerShapes) {
        let part = |part: &str| format!("{}.{part}", self.name);
        shapes.norm(&part("norm1"), self.n_in);
        shapes.convolution(&part("conv1"), self.n_out, 3, self.n_in);
        shapes.linear(&part("time_emb_proj"), self.n_out, self.time);
        shapes.norm(&part("norm2"), self.n_out);
        shapes.convolution(&part("conv2"), self.n_out, 3, self.n_out);
        if self.has_shortcut() {
            shapes.convolution(&part("conv_shortcut"), self.n_out, 1, self.n_in);
        }
    }

    fn has_shortcut(&self) -> bool {
        self.n_in != self.n_out
    }

    /// The output grid.
    pub(in crate::unet) fn output(&self, grid: Grid) -> Grid {
        match self.change {
            Change::None => grid,
            Change::Down => Grid { height: grid.height / 2, width: grid.width / 2, ..grid },
            Change::Up => grid.doubled(),
        }
    }

    /// Applies the block; `time` is each image's timestep embedding after its activation.
    pub(in crate::unet) fn run(
        &self,
        x: &Tensor,
        time: &Tensor,
        grid: Grid,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        let part = |part: &str| format!("{}.{part}", self.name);
        let same = Convolution::same(3);
        let (output, silu) = (self.output(grid), NormActivation::Silu);
        let inner = layers.with_group_norm((x, &part("norm1"), self.norm), grid, silu, |inner| {
            layers.convolution(&self.resample(inner, grid)?, &part("conv1"), output, same)
        })?;
        let (x, grid) = (self.resample(x, grid)?, output);
        let inner = ops::add_onto_images(inner, &layers.linear(time, &part("time_emb_proj"))?, grid)?;
        let inner = layers.with_group_norm((&inner, &part("norm2"), self.norm), grid, silu, |inner| {
            layers.convolution(inner, &part("conv2"), grid, same)
        })?;
        let x = if self.has_shortcut() {
            layers.convolution(&x, &part("conv_shortcut"), grid, Convolution::same(1))?
        } else {
            x
        };
        let sum = ops::add_into(inner, &x)?;
        Ok(if self.scale == 1. { sum } else { (sum / self.scale)? })
    }

    fn resample(&self, x: &Tensor, grid: Grid) -> Result<Tensor, EngineError> {
        Ok(match self.change {
            Change::None => x.clone(),
            Change::Down => mean_of_four(x, grid)?,
            Change::Up => ops::upsample_nearest(x, grid)?,
        })
    }
}
