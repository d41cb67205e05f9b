//! Concatenation, per-image sums and squared errors of images whose pixels are rows.

use super::fused::{Backward, Fused, Gradient, Input, binary, onto};
use super::slices::fused_or;
use super::{Grid, composed};
use crate::kernels::{Real, pixels as kernel, rows};
use candle_core::{Result, Shape, Tensor, bail};

/// Concatenates two tensors along the channels.
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
        T => binary::<T, _, _>(Concat, a, b),
        composed::concat(a, b)
    )
}

/// `x + y`, with an image's row of `y` added to all of its pixels.
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
        T => binary::<T, _, _>(AddPerImage { pixels: grid.pixels() }, x, y),
        composed::add_per_image(x, y, grid)
    )
}

/// [`add_per_image`] in the memory of `x`, which nothing else may use: the result of a layer that no other one reads.
#[expect(clippy::needless_pass_by_value, reason = "who gives its memory up keeps no tensor")]
pub fn add_onto_images(x: Tensor, y: &Tensor, grid: Grid) -> Result<Tensor> {
    let width = x.dims2()?.1;
    if x.dims() != [grid.rows(), width] || y.dims() != [grid.images, width] || x.elem_count() == 0 || x.is_variable() {
        return add_per_image(&x, y, grid);
    }
    fused_or!(
        &[&x, y],
        T => onto::<T, _>(
            AddPerImage { pixels: grid.pixels() },
            &x,
            y,
            |op, x, y| kernel::add_onto_images(x, y, width, op.pixels),
        ),
        composed::add_per_image(&x, y, grid)
    )
}

/// The sum of `(prediction - target)^2` over each image's pixels and channels, accumulated in `f64`. The target gets no
/// gradient.
///
/// # Shapes
///
/// `prediction` and `target` `[T, C]`, T a multiple of `images`, result `[images]` in `f64` for any input dtype, since
/// losses use small differences of such sums.
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
        T => binary::<T, _, _>(SquaredErrors { images }, prediction, &target.detach()),
        composed::squared_errors(prediction, target, images)
    )
}

struct Concat;

impl<T: Real> Fused<T, 2> for Concat {
    const NAME: &'static str = "concat";

    fn shape(&self, [a, b]: [&[usize]; 2]) -> Shape {
        (a[0], a[1] + b[1]).into()
    }

    fn forward(&self, [a, b]: [Input<'_, T>; 2]) -> Result<Vec<T>> {
        Ok(kernel::concat(a.data, b.data, [a.dims[1], b.dims[1]]))
    }

    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [false; 2]
    }

    fn backward(&self, pass: &Backward<'_, T, 2>) -> Result<[Gradient<T>; 2]> {
        let [left, right] = pass.inputs.map(|input| input.dims[1]);
        let parts = [(0, left), (left, right)];
        Ok(pass.each_required(|index| {
            let (start, width) = parts[index];
            kernel::columns(pass.gradient, left + right, start, width)
        }))
    }
}

struct AddPerImage {
    pixels: usize,
}

impl<T: Real> Fused<T, 2> for AddPerImage {
    const NAME: &'static str = "add-per-image";

    fn forward(&self, [x, y]: [Input<'_, T>; 2]) -> Result<Vec<T>> {
        Ok(kernel::add_per_image(x.data, y.data, x.dims[1], self.pixels))
    }

    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [false; 2]
    }

    fn backward(&self, pass: &Backward<'_, T, 2>) -> Result<[Gradient<T>; 2]> {
        let [_, y] = pass.inputs;
        let to_y = || rows::sum_rows_of_images(pass.gradient, y.dims[1], self.pixels);
        Ok([Gradient::Same, pass.if_required(1, to_y)])
    }
}

struct SquaredErrors {
    images: usize,
}

impl<T: Real> Fused<T, 2, f64> for SquaredErrors {
    const NAME: &'static str = "squared-errors";

    fn shape(&self, _inputs: [&[usize]; 2]) -> Shape {
        self.images.into()
    }

    fn forward(&self, [prediction, target]: [Input<'_, T>; 2]) -> Result<Vec<f64>> {
        Ok(kernel::squared_errors(prediction.data, target.data, prediction.data.len() / self.images))
    }

    fn backward(&self, pass: &Backward<'_, T, 2, f64>) -> Result<[Gradient<T>; 2]> {
        let [prediction, target] = pass.inputs;
        let to_prediction = kernel::squared_error_slopes(prediction.data, target.data, pass.gradient);
        Ok([Gradient::Values(to_prediction), Gradient::None])
    }
}
