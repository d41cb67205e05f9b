//! Convolutions of images.

use super::fused::{Backward, Fused, Gradient, Input, affine};
use super::slices::fused_or;
use super::{Grid, composed};
use crate::kernels::convolution::{self as kernel, Sizes};
use crate::kernels::{Vectorised, rows};
use candle_core::{Result, Shape, Tensor, bail};

/// The zero padding of each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same padding on all four sides.
    pub fn all(size: usize) -> Self {
        Self { top: size, bottom: size, left: size, right: size }
    }
}

/// The stride and padding of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// The stride in both directions; at least 1.
    pub stride: usize,
    /// The zero padding.
    pub padding: Padding,
}

impl Convolution {
    /// Stride 1, with the padding that preserves the image size for a square kernel of odd size.
    pub fn same(kernel: usize) -> Self {
        Self { stride: 1, padding: Padding::all(kernel / 2) }
    }

    /// The output grid for a kernel of (height, width); `None` if the kernel does not fit.
    pub fn output(&self, grid: Grid, kernel: (usize, usize)) -> Option<Grid> {
        let places = |size: usize, kernel: usize| {
            Some(size.checked_sub(kernel)?.checked_div(self.stride)? + 1).filter(|_| kernel > 0)
        };
        let height = places(grid.height + self.padding.top + self.padding.bottom, kernel.0)?;
        let width = places(grid.width + self.padding.left + self.padding.right, kernel.1)?;
        Some(Grid { height, width, ..grid })
    }
}

/// A convolution (in deep learning's sense: a cross-correlation) of each image with a kernel.
///
/// # Shapes
///
/// `x` `[rows, in]` with the rows of `grid`, `weight` `[out, height, width, in]`, `bias` `[out]`, result `[rows, out]`
/// with the rows of [`Convolution::output`].
///
/// # Errors
///
/// Shapes that do not fit.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    grid: Grid,
    convolution: Convolution,
) -> Result<Tensor> {
    let n_in = grid.channels("convolution", x)?;
    let (n_out, height, width, weight_in) = weight.dims4()?;
    let countable = |output: &Grid| grid.rows().max(output.rows()) < u32::MAX as usize;
    let output = convolution.output(grid, (height, width)).filter(countable);
    let fits = n_in > 0 && n_in == weight_in && n_out > 0 && bias.is_none_or(|bias| bias.dims() == [n_out]);
    let Some(output) = output.filter(|_| fits) else {
        let bias = bias.map(Tensor::dims);
        bail!("{convolution:?} of {:?} as {grid:?} by {:?} with bias {bias:?}", x.dims(), weight.dims());
    };
    if grid.images == 0 {
        return composed::conv2d(x, weight, bias, grid, convolution);
    }
    let sizes = Sizes {
        images: grid.images,
        input: [grid.height, grid.width],
        output: [output.height, output.width],
        kernel: [height, width],
        stride: convolution.stride,
        padding: [convolution.padding.top, convolution.padding.left],
        n_in,
        n_out,
    };
    let tensors = [x, weight, bias.unwrap_or(weight)];
    fused_or!(
        &tensors,
        T => affine::<T, _>(Conv2d(sizes), x, weight, bias),
        composed::conv2d(x, weight, bias, grid, convolution)
    )
}

struct Conv2d(Sizes);

impl<T: Vectorised, const N: usize> Fused<T, N> for Conv2d {
    const NAME: &'static str = "conv2d";

    fn shape(&self, _inputs: [&[usize]; N]) -> Shape {
        let Sizes { images, output: [height, width], n_out, .. } = self.0;
        (images * height * width, n_out).into()
    }

    fn forward(&self, inputs: [Input<'_, T>; N]) -> Result<Vec<T>> {
        let bias = inputs.get(2).map(|bias| bias.data);
        Ok(kernel::forward(inputs[0].data, inputs[1].data, bias, &self.0))
    }

    fn reads(&self, requires_grad: [bool; N]) -> [bool; N] {
        std::array::from_fn(|index| index < 2 && requires_grad[1 - index])
    }

    fn backward(&self, pass: &Backward<'_, T, N>) -> Result<[Gradient<T>; N]> {
        let (x, weight) = (pass.inputs[0].data, pass.inputs[1].data);
        Ok(pass.each_required(|index| match index {
            0 => kernel::to_input(pass.gradient, weight, &self.0),
            1 => kernel::to_weight(x, pass.gradient, &self.0),
            _ => rows::sum_rows(pass.gradient, self.0.n_out),
        }))
    }
}
