//! Adapters in a pass, and merged into their layer.

use candle_core::{Result, Tensor};

use crate::ops::{Convolution, Grid, Matrix, WeightLayout, add_both, conv2d, linear, scale_columns};

/// The adapter of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    /// A, [rank, in], or [rank, height, width, in] of a convolution.
    pub a: &'a Tensor,
    /// B, [out, rank], or [out, 1, 1, rank] of a convolution.
    pub b: &'a Tensor,
    /// The factor of the product B A.
    pub scale: f64,
    /// The bias beside B, `[out]`.
    pub bias: Option<&'a Tensor>,
    /// DoRA's magnitudes, `[out]`.
    pub magnitude: Option<&'a Tensor>,
    /// The squared norms of the base weight's rows, `[out]`, which magnitudes need in a pass; computed there if they are not
    /// given.
    pub squares: Option<&'a Tensor>,
}

impl<'a> Adapter<'a> {
    /// An adapter of two factors and no more.
    pub fn plain(a: &'a Tensor, b: &'a Tensor, scale: f64) -> Self {
        Self { a, b, scale, bias: None, magnitude: None, squares: None }
    }

    /// The bias of the change: scale times that beside B.
    fn scaled_bias(&self) -> Result<Option<Tensor>> {
        self.bias.map(|bias| bias * self.scale).transpose()
    }

    /// DoRA's factor of each output, [out]: the magnitude over the norm of the row of W + scale B A, which gets no gradient.
    ///
    /// The norms are computed from those of W and products of rank by rank, without a matrix of W's size.
    fn factors(&self, magnitude: &Tensor, weight: &Matrix, layout: WeightLayout) -> Result<Tensor> {
        let (a, b) = (self.a.detach().flatten_from(1)?, self.b.detach().flatten_from(1)?);
        let weight = match weight {
            Matrix::Dense(tensor) => Matrix::Dense(tensor.detach().flatten_from(1)?),
            Matrix::Quantised(_) => weight.clone(),
        };
        let squares = match self.squares {
            Some(squares) => squares.detach(),
            None => weight.row_squares(layout)?.to_device(a.device())?,
        };
        // B A is rows of B times A; with W^T A it meets W, with A A^T itself.
        let crossed = (weight.linear(&a, None, layout)?.t()?.contiguous()? * &b)?.sum(1)?;
        let own = (b.matmul(&a.matmul(&a.t()?)?)? * &b)?.sum(1)?;
        let norms = (squares + (crossed * (2. * self.scale))?)?.add(&(own * (self.scale * self.scale))?)?.sqrt()?;
        magnitude / norms
    }
}

/// A linear layer with an adapter: base(x) + scale (x A^T) B^T; see [`Adapter`] for what else an adapter may have.
///
/// # Shapes
/// `x` [T, in], `weight` and `bias` as in [`linear`], result [T, out]. A weight that is a plain tensor or in blocks is frozen
/// and gets no gradient.
///
/// # Errors
/// Shapes that do not fit.
pub fn lora_linear(
    x: &Tensor,
    weight: impl Into<Matrix>,
    bias: Option<&Tensor>,
    layout: WeightLayout,
    adapter: Adapter<'_>,
) -> Result<Tensor> {
    let weight = weight.into();
    // Scaling in the middle touches `rank` numbers per token instead of a whole output row.
    let narrow = (linear(x, adapter.a, None, WeightLayout::OutIn)? * adapter.scale)?;
    let change = linear(&narrow, adapter.b, adapter.scaled_bias()?.as_ref(), WeightLayout::OutIn)?;
    match adapter.magnitude {
        None => add_both(weight.linear(x, bias, layout)?, change),
        Some(magnitude) => {
            let factors = adapter.factors(magnitude, &weight, layout)?;
            scale_columns(&add_both(weight.linear(x, None, layout)?, change)?, &factors, bias)
        }
    }
}

/// A convolution with an adapter: base(x) + scale B(A(x)), A with the base's stride and padding; see [`Adapter`] for what
/// else an adapter may have.
///
/// # Shapes
/// Those of [`conv2d`]. A weight that is a plain tensor is frozen and gets no gradient.
///
/// # Errors
/// Shapes that do not fit.
pub fn lora_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    grid: Grid,
    convolution: Convolution,
    adapter: Adapter<'_>,
) -> Result<Tensor> {
    let narrow = (conv2d(x, adapter.a, None, grid, convolution)? * adapter.scale)?;
    let (_, height, width, _) = adapter.a.dims4()?;
    // The convolution by A has checked that it fits.
    let output = convolution.output(grid, (height, width)).unwrap_or(grid);
    let change = conv2d(&narrow, adapter.b, adapter.scaled_bias()?.as_ref(), output, Convolution::same(1))?;
    match adapter.magnitude {
        None => add_both(conv2d(x, weight, bias, grid, convolution)?, change),
        Some(magnitude) => {
            let factors = adapter.factors(magnitude, &Matrix::from(weight), WeightLayout::OutIn)?;
            scale_columns(&add_both(conv2d(x, weight, None, grid, convolution)?, change)?, &factors, bias)
        }
    }
}

/// Merges an adapter: the weight of the equivalent plain layer, for export. A bias beside B goes to [`merged_bias`].
///
/// # Shapes
/// `weight` and the result in `layout`, which is `OutIn` for convolutions.
///
/// # Errors
/// Shapes that do not fit.
pub fn merged_weight(weight: &Tensor, layout: WeightLayout, adapter: Adapter<'_>) -> Result<Tensor> {
    let (a, b) = (adapter.a.detach().flatten_from(1)?, adapter.b.detach().flatten_from(1)?);
    let change = (b.matmul(&a)? * adapter.scale)?;
    let change = match layout {
        WeightLayout::OutIn => change,
        WeightLayout::InOut => change.t()?,
    };
    let merged = (weight.detach() + change.reshape(weight.shape())?.to_dtype(weight.dtype())?)?;
    let Some(magnitude) = adapter.magnitude else { return Ok(merged) };
    let factors =
        (magnitude.detach().to_dtype(merged.dtype())? / Matrix::from(&merged).row_squares(layout)?.sqrt()?)?;
    match layout {
        WeightLayout::OutIn => merged.flatten_from(1)?.broadcast_mul(&factors.unsqueeze(1)?)?.reshape(weight.shape()),
        WeightLayout::InOut => merged.broadcast_mul(&factors),
    }
}

/// Merges the bias beside B into the layer's.
///
/// # Errors
/// Shapes that do not fit.
pub fn merged_bias(bias: &Tensor, adapter: Adapter<'_>) -> Result<Tensor> {
    match adapter.scaled_bias()? {
        Some(change) => bias.detach() + change.detach().to_dtype(bias.dtype())?,
        None => Ok(bias.detach()),
    }
}
