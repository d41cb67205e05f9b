//! Normalisation of groups of channels, image by image.

use super::{Grid, composed};
use candle_core::{Result, Tensor, bail};

/// What [`group_norm`] does to its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormActivation {
    /// Nothing.
    None,
    /// [`silu`](super::silu), in the same pass over the memory.
    Silu,
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias`, mean and variance being those of an image's pixels in a group
/// of neighbouring channels, and an activation after it.
///
/// # Shapes
///
/// `x` and the result `[grid.rows(), C]`, `weight` and `bias` `[C]`, with C a multiple of `groups`.
///
/// # References
///
/// Wu and He, *Group Normalization* (2018).
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    grid: Grid,
    activation: NormActivation,
) -> Result<Tensor> {
    check(x, weight, bias, groups, grid)?;
    composed::group_norm(x, weight, bias, groups, eps, grid, activation)
}

fn check(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, grid: Grid) -> Result<()> {
    let (n_rows, width) = x.dims2()?;
    if n_rows != grid.rows() || width == 0 || groups == 0 || !width.is_multiple_of(groups) {
        bail!("norm of {groups} groups over {:?} as {grid:?}", x.dims());
    }
    if weight.dims() != [width] || bias.dims() != [width] {
        bail!("norm of {:?} with parameters {:?} and {:?}", x.dims(), weight.dims(), bias.dims());
    }
    Ok(())
}
