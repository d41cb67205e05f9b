//! Layer norms and sums whose scales and shifts belong to groups of consecutive rows (adaptive layer norm).

use super::Real;
use super::norm::{self, Centre};
use super::parallel::{filled_parts, filled_rows, simd};
use super::rows::sum_pieces;
use rayon::prelude::*;
use std::ops::Range;

/// Rows per piece of a sum, as in the norm's own.
const ROWS: usize = 64;

/// The rows of each group, from the ends of all.
fn groups(ends: &[usize]) -> impl IndexedParallelIterator<Item = (usize, Range<usize>)> + '_ {
    (0..ends.len()).into_par_iter().map(|group| (group, rows_of(ends, group)))
}

/// The rows of one group.
fn rows_of(ends: &[usize], group: usize) -> Range<usize> {
    if group == 0 { 0..ends[0] } else { ends[group - 1]..ends[group] }
}

/// `1 + scale`, the weight of a group's norm.
fn weight<T: Real>(scale: &[T]) -> Vec<T> {
    scale.iter().map(|&scale| T::one() + scale).collect()
}

/// `(x - mean) / sqrt(variance + eps) * (1 + scale) + shift`, row by row, with the scale and shift of the row's group.
pub(crate) fn norm_forward<T: Real>(x: &[T], scale: &[T], shift: &[T], ends: &[usize], width: usize, eps: T) -> Vec<T> {
    let (of_row, weight) = (of_rows(ends), weight(scale));
    filled_rows(x.len(), width, |first, rows| {
        let x = &x[first * width..][..rows.len()];
        simd(
            #[inline(always)]
            || {
                for (index, (y, x)) in rows.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
                    let [weight, shift] = [&*weight, shift].map(|all| &all[of_row[first + index] * width..][..width]);
                    norm::forward_row(y, x, weight, Some(shift), eps, Centre::Mean);
                }
            },
        );
    })
}

/// Gradients for input, scales and shifts of [`norm_forward`].
pub(crate) fn norm_backward<T: Real>(
    x: &[T],
    scale: &[T],
    gradient: &[T],
    ends: &[usize],
    width: usize,
    eps: T,
) -> [Vec<T>; 3] {
    let lens = (0..ends.len()).map(|group| rows_of(ends, group).len() * width);
    let ([to_x], of_groups) = filled_parts(lens, |group, [to_x]| {
        let [x, gradient] = [x, gradient].map(|all| &all[rows_of(ends, group).start * width..][..to_x.len()]);
        let scale = &scale[group * width..][..width];
        norm::backward_in(to_x, x, &weight(scale), gradient, eps, Centre::Mean)
    });
    let [to_scale, to_shift] = [0, 1].map(|which| of_groups.iter().flat_map(|group| &group[which]).copied().collect());
    [to_x, to_scale, to_shift]
}

/// The group of each row.
fn of_rows(ends: &[usize]) -> Vec<usize> {
    let mut start = 0;
    let mut of_row = Vec::with_capacity(ends.last().copied().unwrap_or(0));
    for (group, &end) in ends.iter().enumerate() {
        of_row.extend(std::iter::repeat_n(group, end - start));
        start = end;
    }
    of_row
}

/// `x + gate * y`, row by row, with the gate of the row's group.
pub(crate) fn gated_sum<T: Real>(x: &[T], y: &[T], gate: &[T], ends: &[usize], width: usize) -> Vec<T> {
    let of_row = of_rows(ends);
    filled_rows(x.len(), width, |first, rows| {
        rows.copy_from_slice(&x[first * width..][..rows.len()]);
        let y = &y[first * width..][..rows.len()];
        simd(
            #[inline(always)]
            || {
                for (index, (row, y)) in rows.chunks_exact_mut(width).zip(y.chunks_exact(width)).enumerate() {
                    let gate = &gate[of_row[first + index] * width..][..width];
                    for (sum, (&y, &gate)) in row.iter_mut().zip(y.iter().zip(gate)) {
                        *sum += gate * y;
                    }
                }
            },
        );
    })
}

/// The gradient of `y` in [`gated_sum`]: `gate * gradient`.
pub(crate) fn gated<T: Real>(gradient: &[T], gate: &[T], ends: &[usize], width: usize) -> Vec<T> {
    let of_row = of_rows(ends);
    filled_rows(gradient.len(), width, |first, rows| {
        let gradient = &gradient[first * width..][..rows.len()];
        simd(
            #[inline(always)]
            || {
                let pairs = rows.chunks_exact_mut(width).zip(gradient.chunks_exact(width));
                for (index, (row, gradient)) in pairs.enumerate() {
                    let gate = &gate[of_row[first + index] * width..][..width];
                    for (value, (&gradient, &gate)) in row.iter_mut().zip(gradient.iter().zip(gate)) {
                        *value = gate * gradient;
                    }
                }
            },
        );
    })
}

/// The gradient of the gates in [`gated_sum`]: the sum of `gradient * y` over each group's rows, in pieces added in order.
pub(crate) fn gate_slopes<T: Real>(gradient: &[T], y: &[T], ends: &[usize], width: usize) -> Vec<T> {
    let of_group = |(_, rows): (usize, Range<usize>)| {
        let rows = rows.start * width..rows.end * width;
        let pieces = gradient[rows.clone()].par_chunks(ROWS * width).zip(y[rows].par_chunks(ROWS * width));
        let pieces: Vec<Vec<T>> = pieces.map(|(gradient, y)| sum_of_products(gradient, y, width)).collect();
        sum_pieces(&pieces, width)
    };
    groups(ends).map(of_group).collect::<Vec<_>>().concat()
}

fn sum_of_products<T: Real>(a: &[T], b: &[T], width: usize) -> Vec<T> {
    let mut total = vec![T::zero(); width];
    simd(
        #[inline(always)]
        || {
            for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
                for (sum, (&a, &b)) in total.iter_mut().zip(a.iter().zip(b)) {
                    *sum += a * b;
                }
            }
        },
    );
    total
}
