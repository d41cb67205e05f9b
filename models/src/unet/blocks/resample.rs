//! Downsampling and upsampling of images.

use candle_core::Tensor;
use engine::EngineError;
use engine::ops::{self, Convolution, Grid, Padding};

use crate::network::{LayerShapes, Layers};

/// Halves the size by a convolution of stride 2 (`Downsample2D`).
#[derive(Clone, Debug)]
pub(in crate::unet) struct Down {
    pub(in crate::unet) name: String,
    pub(in crate::unet) width: usize,
    pub(in crate::unet) padding: usize,
}

/// Doubles the size by nearest-neighbour upsampling and a convolution (`Upsample2D`).
#[derive(Clone, Debug)]
pub(in crate::unet) struct Up {
    pub(in crate::unet) name: String,
    pub(in crate::unet) width: usize,
}

impl Down {
    pub(in crate::unet) fn add_shapes(&self, shapes: &mut LayerShapes) {
        shapes.convolution(&self.name, self.width, 3, self.width);
    }

    fn convolution(&self) -> Convolution {
        let padding = match self.padding {
            0 => Padding { bottom: 1, right: 1, ..Padding::default() },
            padding => Padding::all(padding),
        };
        Convolution { stride: 2, padding }
    }

    /// The output grid; `None` for images that are too small.
    pub(in crate::unet) fn output(&self, grid: Grid) -> Option<Grid> {
        self.convolution().output(grid, (3, 3))
    }

    pub(in crate::unet) fn run(&self, x: &Tensor, grid: Grid, layers: Layers<'_>) -> Result<Tensor, EngineError> {
        layers.convolution(x, &self.name, grid, self.convolution())
    }
}

impl Up {
    pub(in crate::unet) fn add_shapes(&self, shapes: &mut LayerShapes) {
        shapes.convolution(&self.name, self.width, 3, self.width);
    }

    pub(in crate::unet) fn run(
        &self,
        x: &Tensor,
        grid: Grid,
        target: Grid,
        layers: Layers<'_>,
    ) -> Result<Tensor, EngineError> {
        let large =
            if target == grid.doubled() { ops::upsample_nearest(x, grid)? } else { gather_nearest(x, grid, target)? };
        layers.convolution(&large, &self.name, target, Convolution::same(3))
    }
}

/// Nearest-neighbour resizing, as PyTorch's `nearest` for any two sizes.
fn gather_nearest(x: &Tensor, grid: Grid, target: Grid) -> Result<Tensor, EngineError> {
    let place = |to: usize, from: usize, at: usize| (at * from / to).min(from - 1);
    let mut rows = Vec::with_capacity(target.rows());
    for image in 0..target.images {
        for y in 0..target.height {
            let line = (image * grid.height + place(target.height, grid.height, y)) * grid.width;
            rows.extend((0..target.width).map(|x| (line + place(target.width, grid.width, x)) as u32));
        }
    }
    Ok(ops::embedding(&rows, x)?)
}

/// 2x2 average pooling; an odd last row or column is dropped.
pub(super) fn mean_of_four(x: &Tensor, grid: Grid) -> Result<Tensor, EngineError> {
    let (height, width) = (grid.height / 2, grid.width / 2);
    let corner = |dy: usize, dx: usize| {
        let row = |image: usize, y: usize, x: usize| (image * grid.height + 2 * y + dy) * grid.width + 2 * x + dx;
        let mut rows = Vec::with_capacity(grid.images * height * width);
        for image in 0..grid.images {
            for y in 0..height {
                rows.extend((0..width).map(|x| row(image, y, x) as u32));
            }
        }
        ops::embedding(&rows, x)
    };
    let upper = ops::add(&corner(0, 0)?, &corner(0, 1)?)?;
    let lower = ops::add(&corner(1, 0)?, &corner(1, 1)?)?;
    Ok((ops::add(&upper, &lower)? * 0.25)?)
}
