//! Layers modulated group by group in plain candle ops.

use super::{layer_norm, rows_at};
use crate::transfer::from_host;
use candle_core::{Result, Tensor};

/// See [`crate::ops::adaptive_layer_norm`].
pub fn adaptive_layer_norm(x: &Tensor, scale: &Tensor, shift: &Tensor, ends: &[usize], eps: f64) -> Result<Tensor> {
    let weight = Tensor::ones(x.dim(1)?, x.dtype(), x.device())?;
    let normal = layer_norm(x, &weight, None, eps)?;
    (normal * of_rows(&scale.affine(1., 1.)?, ends)?)? + of_rows(shift, ends)?
}

/// See [`crate::ops::gated_add`].
pub fn gated_add(x: &Tensor, y: &Tensor, gate: &Tensor, ends: &[usize]) -> Result<Tensor> {
    x + (of_rows(gate, ends)? * y)?
}

/// The row of its group for each row.
fn of_rows(of_groups: &Tensor, ends: &[usize]) -> Result<Tensor> {
    let mut start = 0;
    let mut groups = Vec::with_capacity(ends.last().copied().unwrap_or(0));
    for (group, &end) in ends.iter().enumerate() {
        groups.extend(std::iter::repeat_n(group as u32, end - start));
        start = end;
    }
    let n = groups.len();
    rows_at(of_groups, &from_host(groups, n, of_groups.device())?)
}
