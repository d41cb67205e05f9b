//! Rows of pixels as images: what is joined to them, added to them and measured on them.

use super::slices::{fused_or, like, read, slice, stored};
use super::{Grid, composed};
use crate::kernels::{Real, pixels as kernel, rows};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use std::marker::PhantomData;

/// Two tensors side by side.
///
/// # Shapes
///
/// `a` `[T, A]`, `b` `[T, B]`, result `[T, A + B]`.
pub fn concat(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.rank() != 2 || b.rank() != 2 || a.dims()[0] != b.dims()[0] {
        bail!("{:?} and {:?} cannot stand side by side", a.dims(), b.dims());
    }
    if a.elem_count() == 0 || b.elem_count() == 0 {
        return composed::concat(a, b);
    }
    fused_or!(
        &[a, b],
        T => a.contiguous()?.apply_op2(&b.contiguous()?, Concat::<T>(PhantomData)),
        composed::concat(a, b)
    )
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
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    fused_or!(
        &[x, y],
        T => {
            let op = AddPerImage::<T> { pixels: grid.pixels(), number: PhantomData };
            x.contiguous()?.apply_op2(&y.contiguous()?, op)
        },
        composed::add_per_image(x, y, grid)
    )
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
    if prediction.elem_count() == 0 {
        return composed::squared_errors(prediction, target, images);
    }
    fused_or!(
        &[prediction, target],
        T => {
            let op = SquaredErrors::<T> { images, number: PhantomData };
            prediction.contiguous()?.apply_op2(&target.detach().contiguous()?, op)
        },
        composed::squared_errors(prediction, target, images)
    )
}

struct Concat<T>(PhantomData<T>);

impl<T: Real> CustomOp2 for Concat<T> {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n_rows, widths) = (l1.dims()[0], [l1.dims()[1], l2.dims()[1]]);
        let y = kernel::concat::<T>(slice(s1, l1)?, slice(s2, l2)?, widths);
        Ok(stored(y, (n_rows, widths[0] + widths[1])))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = read::<T>(&gradient)?;
        let (left, right) = (a.dim(1)?, b.dim(1)?);
        let part = |x: &Tensor, start, part| {
            let wanted = x.track_op().then(|| kernel::columns::<T>(&gradient, left + right, start, part));
            wanted.map_or(Ok(None), |part| like(part, x))
        };
        Ok((part(a, 0, left)?, part(b, left, right)?))
    }
}

struct AddPerImage<T> {
    pixels: usize,
    number: PhantomData<T>,
}

impl<T: Real> CustomOp2 for AddPerImage<T> {
    fn name(&self) -> &'static str {
        "add-per-image"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = kernel::add_per_image::<T>(slice(s1, l1)?, slice(s2, l2)?, l1.dims()[1], self.pixels);
        Ok(stored(y, l1.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let to_y = if y.track_op() {
            let gradient = gradient.contiguous()?;
            like(rows::sum_rows_of_images::<T>(&read(&gradient)?, y.dim(1)?, self.pixels), y)?
        } else {
            None
        };
        Ok((x.track_op().then(|| gradient.clone()), to_y))
    }
}

struct SquaredErrors<T> {
    images: usize,
    number: PhantomData<T>,
}

impl<T: Real> CustomOp2 for SquaredErrors<T> {
    fn name(&self) -> &'static str {
        "squared-errors"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let image = l1.shape().elem_count() / self.images;
        Ok(stored(kernel::squared_errors::<T>(slice(s1, l1)?, slice(s2, l2)?, image), self.images))
    }

    fn bwd(
        &self,
        prediction: &Tensor,
        target: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let slopes = kernel::squared_error_slopes::<T>(&read(prediction)?, &read(target)?, &gradient);
        Ok((like(slopes, prediction)?, None))
    }
}
