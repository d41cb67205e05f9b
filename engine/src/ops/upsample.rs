//! Nearest-neighbour upsampling.

use super::fused::{Backward, Fused, Gradient, Input, unary};
use super::slices::fused_or;
use super::{Grid, composed};
use crate::kernels::{Real, upsample as kernel};
use candle_core::{Result, Shape, Tensor};

/// Nearest-neighbour upsampling by two: repeats each pixel four times, at twice the height and width.
///
/// # Shapes
///
/// `x` `[rows, channels]` with the rows of `grid`, result `[4 rows, channels]` with those of [`Grid::doubled`].
///
/// # Errors
///
/// Shapes that do not fit.
pub fn upsample_nearest(x: &Tensor, grid: Grid) -> Result<Tensor> {
    let channels = grid.channels("upsampling", x)?;
    if x.elem_count() == 0 {
        return composed::upsample_nearest(x, grid);
    }
    fused_or!(
        &[x],
        T => unary::<T, _, _>(Upsample { line: grid.width * channels }, x),
        composed::upsample_nearest(x, grid)
    )
}

struct Upsample {
    /// Numbers per image row.
    line: usize,
}

impl<T: Real> Fused<T, 1> for Upsample {
    const NAME: &'static str = "upsample-nearest";

    fn shape(&self, [x]: [&[usize]; 1]) -> Shape {
        (4 * x[0], x[1]).into()
    }

    fn forward(&self, [x]: [Input<'_, T>; 1]) -> Result<Vec<T>> {
        Ok(kernel::double(x.data, self.line, x.dims[1]))
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, pass: &Backward<'_, T, 1>) -> Result<[Gradient<T>; 1]> {
        let [x] = pass.inputs;
        Ok([Gradient::Values(kernel::sum_fours(pass.gradient, self.line, x.dims[1]))])
    }
}
