//! Rows of pixels as images: what is joined to them, added to them and measured on them.

use super::{Grid, composed};
use candle_core::{Result, Tensor, bail};

/// Two tensors side by side.
///
/// # Shapes
///
/// `a` `[T, A]`, `b` `[T, B]`, result `[T, A + B]`.
pub fn concat(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.rank() != 2 || b.rank() != 2 || a.dims()[0] != b.dims()[0] {
        bail!("{:?} and {:?} cannot stand side by side", a.dims(), b.dims());
    }
    composed::concat(a, b)
}

/// `x + y`, each image's row of `y` being added to all of its pixels.
///
/// # Shapes
///
/// `x` and the result `[grid.rows(), C]`, `y` `[grid.images, C]`.
pub fn add_per_image(x: &Tensor, y: &Tensor, grid: Grid) -> Result<Tensor> {
    let width = x.dims2()?.1;
    if x.dims() != [grid.rows(), width] || y.dims() != [grid.images, width] {
        bail!("{:?} added to {:?} as {grid:?}", y.dims(), x.dims());
    }
    composed::add_per_image(x, y, grid)
}

/// The sum of `(prediction - target)^2` over each image's pixels and channels, added up in `f64`. No gradient flows to
/// the target.
///
/// # Shapes
///
/// `prediction` and `target` `[T, C]`, T a multiple of `images`, result `[images]` in `f64` whatever the inputs' type,
/// for what counts is often the small difference between two such sums.
pub fn squared_errors(prediction: &Tensor, target: &Tensor, images: usize) -> Result<Tensor> {
    let n_rows = prediction.dims2()?.0;
    if prediction.dims() != target.dims() || images == 0 || !n_rows.is_multiple_of(images) {
        bail!("errors of {images} images of {:?} against {:?}", prediction.dims(), target.dims());
    }
    composed::squared_errors(prediction, target, images)
}
