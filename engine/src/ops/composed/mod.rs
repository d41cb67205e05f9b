//! Every layer in plain candle ops: the implementation for other devices, and the reference for tests of the fused
//! kernels.

mod adaptive;
mod attention;
mod forest_mask;
mod groups;
mod images;
mod operands;
mod products;
mod vocabulary;

pub use adaptive::{adaptive_layer_norm, gated_add};
pub use attention::{block_attention, forest_attention, forest_attention_packed};
pub(crate) use attention::{soft_cap, softmax};
pub use groups::{add_per_image, concat, geglu, group_norm, quick_gelu, squared_errors};
pub use images::{conv2d, upsample_nearest};
pub(crate) use operands::{columns_at, product, rows_at};
use products::{by_weight, convolved, in_precision};
pub use vocabulary::{logit_log_prob, vocabulary_log_prob};

use super::{AxialRope, Heads, Pairing, QkvLayout, Rope, WeightLayout};
use crate::transfer::from_host;
use candle_core::{D, Result, Tensor};
use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

/// See [`super::linear`].
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, layout: WeightLayout) -> Result<Tensor> {
    biased(by_weight(x, weight, layout)?, bias)
}

/// Adds a bias to every row.
fn biased(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// See [`super::scale_columns`].
pub fn scale_columns(x: &Tensor, scale: &Tensor, shift: Option<&Tensor>) -> Result<Tensor> {
    let y = x.broadcast_mul(scale)?;
    match shift {
        Some(shift) => y.broadcast_add(shift),
        None => Ok(y),
    }
}

/// See [`super::embedding`].
pub fn embedding(ids: &[u32], table: &Tensor) -> Result<Tensor> {
    rows_at(table, &from_host(ids.to_vec(), ids.len(), table.device())?)
}

/// See [`super::layer_norm`].
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let y = rms_norm(&x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?, weight, eps)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// See [`super::rms_norm`].
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let deviation = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&deviation)?.broadcast_mul(weight)
}

/// See [`super::gelu`].
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    // Candle's own gelu_erf has rounded constants in its gradient.
    x * (x / SQRT_2)?.erf()?.affine(0.5, 0.5)?
}

/// See [`super::gelu_tanh`].
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    let slope = FRAC_2_SQRT_PI / SQRT_2;
    let inner = (x * x.sqr()?.affine(slope * 0.044_715, slope)?)?;
    x * inner.tanh()?.affine(0.5, 0.5)?
}

/// See [`super::silu`].
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

/// See [`super::tanh`].
pub fn tanh(x: &Tensor) -> Result<Tensor> {
    x.tanh()
}

/// See [`super::swiglu`].
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// See [`super::add`].
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a + b
}

/// See [`super::rope`].
pub fn rope(x: &Tensor, positions: &[u32], n_heads: usize, head_size: usize, rope: &Rope) -> Result<Tensor> {
    rope.check(head_size)?;
    turned_heads(x, &rope.turns_on(positions, x)?, (n_heads, head_size), rope.pairing)
}

/// See [`super::axial_rope`].
pub fn axial_rope(x: &Tensor, rope: &AxialRope, n_heads: usize, head_size: usize) -> Result<Tensor> {
    turned_heads(x, &rope.turns_on(x)?, (n_heads, head_size), rope.pairing)
}

/// Rotates the leading coordinates of every head by cosines and sines, `[rows, half]` each.
fn turned_heads(
    x: &Tensor,
    [cos, sin]: &[Tensor; 2],
    (n_heads, head_size): (usize, usize),
    pairing: Pairing,
) -> Result<Tensor> {
    let n_rows = x.dim(0)?;
    let half = cos.dim(1)?;
    // Pairs lie along `dim` of `[T, heads, ..]`; the table is broadcast over the heads.
    let (pairs, angles, dim) = match pairing {
        Pairing::Halves => ([n_rows, n_heads, 2, half], [n_rows, 1, 1, half], 2),
        Pairing::Interleaved => ([n_rows, n_heads, half, 2], [n_rows, 1, half, 1], 3),
    };
    let (cos, sin) = (cos.reshape(&angles[..])?, sin.reshape(&angles[..])?);
    let heads = x.reshape((n_rows, n_heads, head_size))?;
    let turning = heads.narrow(2, 0, 2 * half)?.contiguous()?.reshape(&pairs[..])?;
    let (first, second) = (turning.narrow(dim, 0, 1)?, turning.narrow(dim, 1, 1)?);
    let turned_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let turned_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    let turned = Tensor::cat(&[turned_first, turned_second], dim)?.reshape((n_rows, n_heads, 2 * half))?;
    let turned = if 2 * half < head_size {
        Tensor::cat(&[turned, heads.narrow(2, 2 * half, head_size - 2 * half)?], 2)?
    } else {
        turned
    };
    turned.reshape((n_rows, n_heads * head_size))
}

/// See [`super::rope_packed`].
pub fn rope_packed(qkv: &Tensor, positions: &[u32], heads: Heads, layout: QkvLayout, angles: &Rope) -> Result<Tensor> {
    heads.check_packed(positions.len(), qkv, layout)?;
    let (q, k, v) = split(qkv, heads, layout)?;
    let q = rope(&q, positions, heads.query, heads.size, angles)?;
    let k = rope(&k, positions, heads.key_value, heads.size, angles)?;
    match layout {
        QkvLayout::Blocks => Tensor::cat(&[q, k, v], 1),
        QkvLayout::PerHead => {
            let shape = (positions.len(), heads.query, heads.size);
            let parts = [q.reshape(shape)?, k.reshape(shape)?, v.reshape(shape)?];
            Tensor::cat(&parts, 2)?.reshape((positions.len(), 3 * heads.query * heads.size))
        }
    }
}

/// Queries, keys and values of a packed projection.
fn split(qkv: &Tensor, heads: Heads, layout: QkvLayout) -> Result<(Tensor, Tensor, Tensor)> {
    let n_rows = qkv.dim(0)?;
    let (query, keys) = (heads.query * heads.size, heads.key_value * heads.size);
    match layout {
        QkvLayout::Blocks => {
            let part = |start, len| qkv.narrow(1, start, len)?.contiguous();
            Ok((part(0, query)?, part(query, keys)?, part(query + keys, keys)?))
        }
        QkvLayout::PerHead => {
            let by_head = qkv.reshape((n_rows, heads.query, 3, heads.size))?;
            let part = |index| by_head.narrow(2, index, 1)?.contiguous()?.reshape((n_rows, query));
            Ok((part(0)?, part(1)?, part(2)?))
        }
    }
}
