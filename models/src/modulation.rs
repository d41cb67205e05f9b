//! Layers that vectors of each image modulate, as the transformers that denoise have them.

use std::sync::Arc;

use candle_core::Tensor;
use engine::{EngineError, ops};

/// Splits the columns into `n` equal parts.
pub(crate) fn parts(x: &Tensor, n: usize) -> Result<Vec<Tensor>, EngineError> {
    let width = x.dim(1)? / n;
    (0..n).map(|part| Ok(x.narrow(1, part * width, width)?.contiguous()?)).collect()
}

/// The rows of two streams in the order of their joint attention; only that reads them any more.
pub(crate) fn joint_rows(order: &[u32], patches: Tensor, caption: Tensor) -> Result<Tensor, EngineError> {
    let both = Tensor::cat(&[&patches, &caption], 0)?;
    let joint = ops::embedding(order, &both)?;
    [patches, caption, both].into_iter().try_for_each(ops::let_go)?;
    Ok(joint)
}

/// A stream of rows, and the row after the last of each image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) ends: &'a Arc<[usize]>,
    /// Epsilon of the norm.
    pub(crate) epsilon: f64,
}

/// The layer norm of a stream, modulated.
pub(crate) fn norm(rows: Rows<'_>, (scale, shift): (&Tensor, &Tensor)) -> Result<Tensor, EngineError> {
    Ok(ops::adaptive_layer_norm(rows.x, scale, shift, rows.ends, rows.epsilon)?)
}

/// [`norm`] for one use, after which its memory is free until the backward pass.
pub(crate) fn with_norm<R>(
    rows: Rows<'_>,
    (scale, shift): (&Tensor, &Tensor),
    used: impl FnOnce(&Tensor) -> Result<R, EngineError>,
) -> Result<R, EngineError> {
    let (ends, epsilon) = (Arc::clone(rows.ends), rows.epsilon);
    let make = move |x: &[Tensor]| ops::adaptive_layer_norm(&x[0], &x[1], &x[2], &ends, epsilon);
    ops::remade(&[rows.x, scale, shift], make, used)
}

/// A feed-forward network on the modulated norm of a stream, and its gated sum with the stream: `activate` is between the layers
/// `wide` and `narrow`, and of six vectors the last three are shift, scale and gate.
pub(crate) fn feed_forward(
    rows: Rows<'_>,
    modulation: &[Tensor],
    wide: impl FnOnce(&Tensor) -> Result<Tensor, EngineError>,
    activate: fn(&Tensor) -> candle_core::Result<Tensor>,
    narrow: impl FnOnce(&Tensor) -> Result<Tensor, EngineError>,
) -> Result<Tensor, EngineError> {
    let wide = with_norm(rows, (&modulation[4], &modulation[3]), wide)?;
    let inner = ops::remade(&[&wide], move |x| activate(&x[0]), narrow)?;
    Ok(ops::gated_add(rows.x, &inner, &modulation[5], rows.ends)?)
}
