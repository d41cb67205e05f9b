//! Convolutions of images.

use super::{Grid, composed};
use candle_core::{Result, Tensor, bail};

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
    let output = convolution.output(grid, (height, width));
    if n_in == 0 || n_in != weight_in || output.is_none() || bias.is_some_and(|bias| bias.dims() != [n_out]) {
        let bias = bias.map(Tensor::dims);
        bail!("{convolution:?} of {:?} as {grid:?} by {:?} with bias {bias:?}", x.dims(), weight.dims());
    }
    composed::conv2d(x, weight, bias, grid, convolution)
}
