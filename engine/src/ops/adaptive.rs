//! Norms and sums modulated by vectors that groups of rows share: the adaptive layer norm of diffusion transformers.
//!
//! A group is the rows of one image, or of its text. Groups are consecutive and may differ in size: `ends` has the row
//! after the last of each.

use super::composed;
use super::fused::{Backward, Fused, Gradient, Input, ternary};
use super::slices::fused_or;
use crate::kernels::{Real, adaptive as kernel};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// Layer normalisation without weights of its own, modulated: `normal(x) (1 + scale) + shift` with the scale and shift
/// of each row's group (adaLN).
///
/// # Shapes
///
/// `x` and the result `[T, width]`, `scale` and `shift` `[G, width]`, `ends` G row ends, the last of them T.
///
/// # Errors
///
/// Shapes that do not fit, or ends that do not rise to T.
///
/// # References
///
/// Peebles and Xie, *Scalable Diffusion Models with Transformers* (2022), 3.2.
pub fn adaptive_layer_norm(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    ends: &Arc<[usize]>,
    eps: f64,
) -> Result<Tensor> {
    check(x, &[scale, shift], ends)?;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let op = AdaptiveNorm { eps, ends: Arc::clone(ends) };
    fused_or!(
        &[x, scale, shift],
        T => ternary::<T, T, _>(op, x, scale, shift),
        composed::adaptive_layer_norm(x, scale, shift, ends, eps)
    )
}

/// A gated residual sum: `x + gate y` with the gate of each row's group.
///
/// # Shapes
///
/// `x`, `y` and the result `[T, width]`, `gate` `[G, width]`, `ends` G row ends, the last of them T.
///
/// # Errors
///
/// As [`adaptive_layer_norm`].
pub fn gated_add(x: &Tensor, y: &Tensor, gate: &Tensor, ends: &Arc<[usize]>) -> Result<Tensor> {
    check(x, &[gate], ends)?;
    if x.dims() != y.dims() {
        bail!("a gated sum of {:?} and {:?}", x.dims(), y.dims());
    }
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let op = GatedSum { ends: Arc::clone(ends) };
    fused_or!(
        &[x, y, gate],
        T => ternary::<T, T, _>(op, x, y, gate),
        composed::gated_add(x, y, gate, ends)
    )
}

fn check(x: &Tensor, of_groups: &[&Tensor], ends: &[usize]) -> Result<()> {
    let (n_rows, width) = x.dims2()?;
    let rises = ends.windows(2).all(|pair| pair[0] <= pair[1]) && ends.last().copied().unwrap_or(0) == n_rows;
    if !rises || of_groups.iter().any(|tensor| tensor.dims() != [ends.len(), width]) {
        let shapes: Vec<&[usize]> = of_groups.iter().map(|tensor| tensor.dims()).collect();
        bail!("{n_rows} rows of {width} with groups that end at {ends:?}, modulated by {shapes:?}");
    }
    Ok(())
}

struct AdaptiveNorm {
    eps: f64,
    ends: Arc<[usize]>,
}

impl<T: Real> Fused<T, 3> for AdaptiveNorm {
    const NAME: &'static str = "adaptive-norm";

    fn forward(&self, [x, scale, shift]: [Input<'_, T>; 3]) -> Result<Vec<T>> {
        Ok(kernel::norm_forward(x.data, scale.data, shift.data, &self.ends, x.dims[1], T::of(self.eps)))
    }

    fn backward(&self, pass: &Backward<'_, T, 3>) -> Result<[Gradient<T>; 3]> {
        let [x, scale, _] = pass.inputs;
        let gradients =
            kernel::norm_backward(x.data, scale.data, pass.gradient, &self.ends, x.dims[1], T::of(self.eps));
        Ok(gradients.map(Gradient::Values))
    }
}

struct GatedSum {
    ends: Arc<[usize]>,
}

impl<T: Real> Fused<T, 3> for GatedSum {
    const NAME: &'static str = "gated-sum";

    fn forward(&self, [x, y, gate]: [Input<'_, T>; 3]) -> Result<Vec<T>> {
        Ok(kernel::gated_sum(x.data, y.data, gate.data, &self.ends, x.dims[1]))
    }

    fn reads(&self, requires_grad: [bool; 3]) -> [bool; 3] {
        [false, requires_grad[2], requires_grad[1]]
    }

    fn backward(&self, pass: &Backward<'_, T, 3>) -> Result<[Gradient<T>; 3]> {
        let [x, y, gate] = pass.inputs;
        let width = x.dims[1];
        let to_y = pass.if_required(1, || kernel::gated(pass.gradient, gate.data, &self.ends, width));
        let to_gate = pass.if_required(2, || kernel::gate_slopes(pass.gradient, y.data, &self.ends, width));
        Ok([Gradient::Same, to_y, to_gate])
    }
}
