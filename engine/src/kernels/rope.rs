//! Rotation of coordinate pairs in place (rotary embedding).

use super::Real;
use super::parallel::{for_row_pieces, simd};
use crate::layout::Pairing;

/// Cosines and sines of the rotation angles of packed rows.
#[derive(Debug)]
pub(crate) struct Angles<T> {
    /// `[n, half]` each.
    pub(crate) cos: Vec<T>,
    pub(crate) sin: Vec<T>,
    /// The table row of each packed row.
    pub(crate) rows: Vec<u32>,
    pub(crate) half: usize,
}

/// The direction of a rotation; gradients rotate backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Forward,
    Back,
}

/// Rotates the heads that start at columns `heads` of every row of `x`, a matrix of the given width.
pub(crate) fn turn<T: Real>(
    x: &mut [T],
    width: usize,
    heads: &[usize],
    angles: &Angles<T>,
    pairing: Pairing,
    way: Turn,
) {
    let half = angles.half;
    let sign = if way == Turn::Forward { T::one() } else { -T::one() };
    for_row_pieces(x, width, |first, rows| {
        simd(
            #[inline(always)]
            || {
                for (row, &index) in rows.chunks_exact_mut(width).zip(&angles.rows[first..]) {
                    let cos = &angles.cos[index as usize * half..][..half];
                    let sin = &angles.sin[index as usize * half..][..half];
                    for &head in heads {
                        turn_head(&mut row[head..][..2 * half], cos, sin, pairing, sign);
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn turn_head<T: Real>(head: &mut [T], cos: &[T], sin: &[T], pairing: Pairing, sign: T) {
    let angles = cos.iter().zip(sin);
    match pairing {
        Pairing::Halves => {
            let (first, second) = head.split_at_mut(cos.len());
            for ((a, b), (&cos, &sin)) in first.iter_mut().zip(second).zip(angles) {
                (*a, *b) = turned(*a, *b, cos, sign * sin);
            }
        }
        Pairing::Interleaved => {
            for (pair, (&cos, &sin)) in head.chunks_exact_mut(2).zip(angles) {
                (pair[0], pair[1]) = turned(pair[0], pair[1], cos, sign * sin);
            }
        }
    }
}

#[inline(always)]
fn turned<T: Real>(a: T, b: T, cos: T, sin: T) -> (T, T) {
    (a * cos - b * sin, b * cos + a * sin)
}
