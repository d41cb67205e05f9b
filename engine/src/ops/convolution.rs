//! Convolutions of images.

use super::slices::{fused_or, like, read, slice, stored};
use super::{Grid, composed};
use crate::kernels::convolution::{self as kernel, Sizes};
use crate::kernels::{Vectorised, rows};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::marker::PhantomData;

/// Rows and columns of zeros put around each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows above it.
    pub top: usize,
    /// Rows below it.
    pub bottom: usize,
    /// Columns to its left.
    pub left: usize,
    /// Columns to its right.
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    pub fn all(size: usize) -> Self {
        Self { top: size, bottom: size, left: size, right: size }
    }
}

/// How a kernel moves over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Pixels from one place of the kernel to the next, in both directions; at least 1.
    pub stride: usize,
    /// The zeros around each image.
    pub padding: Padding,
}

impl Convolution {
    /// Stride 1, with the padding at which a square kernel of odd size leaves the size of images as it is.
    pub fn same(kernel: usize) -> Self {
        Self { stride: 1, padding: Padding::all(kernel / 2) }
    }

    /// The grid that comes out, by a kernel of (height, width); `None` if the kernel fits nowhere.
    pub fn output(&self, grid: Grid, kernel: (usize, usize)) -> Option<Grid> {
        let places = |size: usize, kernel: usize| {
            Some(size.checked_sub(kernel)?.checked_div(self.stride)? + 1).filter(|_| kernel > 0)
        };
        let height = places(grid.height + self.padding.top + self.padding.bottom, kernel.0)?;
        let width = places(grid.width + self.padding.left + self.padding.right, kernel.1)?;
        Some(Grid { height, width, ..grid })
    }
}

/// A convolution (as deep learning has it: a correlation) of each image with a kernel.
///
/// # Shapes
///
/// `x` `[rows, in]` with the rows of `grid`, `weight` `[out, height, width, in]`, `bias` `[out]`, result `[rows, out]`
/// with the rows of [`Convolution::output`].
///
/// # Errors
///
/// When the shapes do not fit.
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
        T => apply::<T>(x, weight, bias, sizes),
        composed::conv2d(x, weight, bias, grid, convolution)
    )
}

fn apply<T: Vectorised>(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, sizes: Sizes) -> Result<Tensor> {
    let op = Conv2d::<T> { sizes, number: PhantomData };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
        None => x.apply_op2(&weight, op),
    }
}

struct Conv2d<T> {
    sizes: Sizes,
    number: PhantomData<T>,
}

impl<T: Vectorised> Conv2d<T> {
    fn forward(&self, x: &[T], weight: &[T], bias: Option<&[T]>) -> (CpuStorage, Shape) {
        let y = kernel::forward(x, weight, bias, &self.sizes);
        let rows = y.len() / self.sizes.n_out;
        stored(y, (rows, self.sizes.n_out))
    }

    fn to_input(&self, x: &Tensor, weight: &Tensor, gradient: &[T]) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        like(kernel::to_input(gradient, &read::<T>(weight)?, &self.sizes), x)
    }

    fn to_weight(&self, x: &Tensor, weight: &Tensor, gradient: &[T]) -> Result<Option<Tensor>> {
        if !weight.track_op() {
            return Ok(None);
        }
        like(kernel::to_weight(&read::<T>(x)?, gradient, &self.sizes), weight)
    }
}

impl<T: Vectorised> CustomOp2 for Conv2d<T> {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(slice(s1, l1)?, slice(s2, l2)?, None))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = read(&gradient)?;
        Ok((self.to_input(x, weight, &gradient)?, self.to_weight(x, weight, &gradient)?))
    }
}

impl<T: Vectorised> CustomOp3 for Conv2d<T> {
    fn name(&self) -> &'static str {
        "conv2d-with-bias"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(slice(s1, l1)?, slice(s2, l2)?, Some(slice(s3, l3)?)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let gradient = read(&gradient)?;
        let to_bias =
            if bias.track_op() { like(rows::sum_rows::<T>(&gradient, bias.elem_count()), bias)? } else { None };
        Ok((self.to_input(x, weight, &gradient)?, self.to_weight(x, weight, &gradient)?, to_bias))
    }
}
