//! Rotary position embedding of rows that have a position on each of several axes, as pixels have.

use super::composed;
use super::fused::unary;
use super::rope::Turning;
use super::slices::fused_or;
use super::turns::DeviceTurns;
use super::{Pairing, Rope, RopeScaling};
use crate::kernels::Real;
use crate::kernels::rope::Angles;
use candle_core::{Result, Tensor, bail};

/// Angles of the rows of a batch: the coordinate pairs of a head are shared out among the axes in turn, and those of an
/// axis rotate by the row's position on it.
///
/// Rows with the same positions share a place, so a batch of images of one size has as many places as an image has rows.
///
/// # References
///
/// Heo et al., *Rotary Position Embedding for Vision Transformer* (2024), axial frequencies.
#[derive(Debug, Clone)]
pub struct AxialRope {
    pub(super) pairing: Pairing,
    /// Half of the rotated coordinates of a head.
    half: usize,
    /// Cosines and sines of the places, `[places, half]` each.
    cos: Vec<f64>,
    sin: Vec<f64>,
    /// The place of each row.
    rows: Vec<u32>,
    device_turns: DeviceTurns,
}

impl AxialRope {
    /// Computes the angles of places, and gives each row one of them.
    ///
    /// `widths` are the coordinates of each axis, even; `places` have a position on each axis, and `rows` the index of
    /// each row's place.
    ///
    /// # Errors
    ///
    /// An odd width, a place with another number of axes, a row without a place.
    pub fn new<P: AsRef<[u32]>>(
        base: f64,
        widths: &[usize],
        pairing: Pairing,
        places: &[P],
        rows: Vec<u32>,
    ) -> Result<Self> {
        if let Some(width) = widths.iter().find(|width| !width.is_multiple_of(2)) {
            bail!("{width} coordinates of an axis are no pairs");
        }
        if let Some(row) = rows.iter().find(|row| **row as usize >= places.len()) {
            bail!("a row at place {row} of {}", places.len());
        }
        let axes: Vec<Rope> = widths.iter().map(|&width| Rope::new(base, width, pairing, &RopeScaling::None)).collect();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for place in places.iter().map(AsRef::as_ref) {
            if place.len() != axes.len() {
                bail!("a place of {} positions on {} axes", place.len(), axes.len());
            }
            for (axis, &position) in axes.iter().zip(place) {
                let (of_cos, of_sin) = axis.table(&[position]);
                cos.extend(of_cos);
                sin.extend(of_sin);
            }
        }
        let (half, device_turns) = (widths.iter().sum::<usize>() / 2, DeviceTurns::default());
        Ok(Self { pairing, half, cos, sin, rows, device_turns })
    }

    fn angles<T: Real>(&self) -> Angles<T> {
        let rounded = |values: &[f64]| values.iter().map(|&value| T::of(value)).collect();
        Angles { cos: rounded(&self.cos), sin: rounded(&self.sin), rows: self.rows.clone(), half: self.half }
    }

    /// Cosines and sines of each row, `[rows, half]`, as tensors like `x`, kept on its device for all layers.
    pub(super) fn turns_on(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let padded = |values: &[f64], n: usize| {
            let mut values = values.to_vec();
            values.resize(n * self.half, 0.);
            values
        };
        self.device_turns.of_rows(&self.rows, self.half, x, |n| (padded(&self.cos, n), padded(&self.sin, n)))
    }
}

/// Rotates every head of `x` by the angles of its row.
///
/// # Shapes
///
/// `x` and the result `[rows, n_heads * head_size]`.
///
/// # Errors
///
/// Another number of rows, heads that are smaller than the coordinates that rotate.
pub fn axial_rope(x: &Tensor, rope: &AxialRope, n_heads: usize, head_size: usize) -> Result<Tensor> {
    if x.dims() != [rope.rows.len(), n_heads * head_size] || 2 * rope.half > head_size {
        let (rows, rotated) = (rope.rows.len(), 2 * rope.half);
        bail!("{:?} for {rows} rows and {n_heads} heads of {head_size}, of which {rotated} rotate", x.dims());
    }
    let heads = || (0..n_heads).map(|head| head * head_size).collect();
    fused_or!(
        &[x],
        T => unary(Turning::<T> { angles: rope.angles(), pairing: rope.pairing, heads: heads() }, x),
        composed::axial_rope(x, rope, n_heads, head_size)
    )
}
