//! Images at twice their size.

use super::{Grid, composed};
use candle_core::{Result, Tensor};

/// Each pixel four times: the images at twice their height and width.
///
/// # Shapes
///
/// `x` `[rows, channels]` with the rows of `grid`, result `[4 rows, channels]` with those of [`Grid::doubled`].
///
/// # Errors
///
/// When the shapes do not fit.
pub fn upsample_nearest(x: &Tensor, grid: Grid) -> Result<Tensor> {
    grid.channels("upsampling", x)?;
    composed::upsample_nearest(x, grid)
}
