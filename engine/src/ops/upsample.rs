//! Images at twice their size.

use super::slices::{fused_or, like, read, slice, stored};
use super::{Grid, composed};
use crate::kernels::{Real, upsample as kernel};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use std::marker::PhantomData;

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
    let channels = grid.channels("upsampling", x)?;
    if x.elem_count() == 0 {
        return composed::upsample_nearest(x, grid);
    }
    fused_or!(
        &[x],
        T => x.contiguous()?.apply_op1(Upsample::<T> { line: grid.width * channels, number: PhantomData }),
        composed::upsample_nearest(x, grid)
    )
}

struct Upsample<T> {
    /// Numbers in a line of an image.
    line: usize,
    number: PhantomData<T>,
}

impl<T: Real> CustomOp1 for Upsample<T> {
    fn name(&self) -> &'static str {
        "upsample-nearest"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, channels) = layout.shape().dims2()?;
        Ok(stored(kernel::double(slice::<T>(storage, layout)?, self.line, channels), (4 * rows, channels)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        like(kernel::sum_fours::<T>(&read(&gradient)?, self.line, x.dim(1)?), x)
    }
}
