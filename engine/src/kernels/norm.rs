//! Layer and root-mean-square normalisation.

use super::Real;
use super::parallel::{filled_rows, filled_with, simd};
use super::rows::{sum_of, sum_of_pairs, sum_pieces};
use rayon::prelude::*;

/// Rows per piece of a backward pass, each with partial sums of the weight's gradient.
const ROWS: usize = 32;

/// The centre subtracted from a row before its scale is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Centre {
    /// Its mean (layer norm).
    Mean,
    /// Nothing (RMS norm).
    Zero,
}

/// Mean (or 0) and `1 / sqrt(mean square + eps)` of a row.
#[inline(always)]
fn moments<T: Real>(x: &[T], centre: Centre, eps: T) -> (T, T) {
    let share = T::of(1. / x.len() as f64);
    let mean = match centre {
        Centre::Mean => {
            sum_of(
                x,
                #[inline(always)]
                |x| x,
            ) * share
        }
        Centre::Zero => T::zero(),
    };
    let square = sum_of(
        x,
        #[inline(always)]
        |x| (x - mean) * (x - mean),
    ) * share;
    (mean, T::one() / (square + eps).root())
}

/// `(x - mean) / sqrt(mean square + eps) * weight + bias`, row by row.
pub(crate) fn forward<T: Real>(x: &[T], weight: &[T], bias: Option<&[T]>, eps: T, centre: Centre) -> Vec<T> {
    let width = weight.len();
    filled_rows(x.len(), width, |first, rows| {
        let x = &x[first * width..][..rows.len()];
        simd(
            #[inline(always)]
            || {
                for (y, x) in rows.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    forward_row(y, x, weight, bias, eps, centre);
                }
            },
        );
    })
}

/// [`forward`] of one row.
#[inline(always)]
pub(super) fn forward_row<T: Real>(y: &mut [T], x: &[T], weight: &[T], bias: Option<&[T]>, eps: T, centre: Centre) {
    let (mean, scale) = moments(x, centre, eps);
    for ((y, &x), &weight) in y.iter_mut().zip(x).zip(weight) {
        *y = (x - mean) * scale * weight;
    }
    if let Some(bias) = bias {
        for (y, &bias) in y.iter_mut().zip(bias) {
            *y += bias;
        }
    }
}

/// Gradients of a norm.
#[derive(Debug)]
pub(crate) struct NormGradients<T> {
    pub(crate) x: Vec<T>,
    pub(crate) weight: Vec<T>,
    pub(crate) bias: Vec<T>,
}

/// Gradients for input, weight and bias.
///
/// With `n = (x - mean) scale` and `h = gradient * weight`: `dx = scale (h - mean(h) - n mean(h n))` (no `mean(h)` for
/// RMS norm), `dweight = sum gradient n`, `dbias = sum gradient`.
pub(crate) fn backward<T: Real>(x: &[T], weight: &[T], gradient: &[T], eps: T, centre: Centre) -> NormGradients<T> {
    let width = weight.len();
    let part = ROWS * width;
    let (to_x, partial) = filled_with(x.len(), part, |index, to_x| {
        let [x, gradient] = [x, gradient].map(|all| &all[index * part..][..to_x.len()]);
        backward_rows(to_x, x, weight, gradient, eps, centre)
    });
    let [weight, bias] = total(&partial, width);
    NormGradients { x: to_x, weight, bias }
}

/// [`backward`] of some rows: writes their gradients, and returns those of weight and bias.
pub(super) fn backward_in<T: Real>(
    to_x: &mut [T],
    x: &[T],
    weight: &[T],
    gradient: &[T],
    eps: T,
    centre: Centre,
) -> [Vec<T>; 2] {
    let width = weight.len();
    let inputs = x.par_chunks(ROWS * width).zip(gradient.par_chunks(ROWS * width));
    let pieces = to_x.par_chunks_mut(ROWS * width).zip(inputs);
    let partial: Vec<Vec<T>> =
        pieces.map(|(to_x, (x, gradient))| backward_rows(to_x, x, weight, gradient, eps, centre)).collect();
    total(&partial, width)
}

/// The gradients of weight and bias, of those of each piece of rows.
fn total<T: Real>(partial: &[Vec<T>], width: usize) -> [Vec<T>; 2] {
    let mut weight = sum_pieces(partial, 2 * width);
    let bias = weight.split_off(width);
    [weight, bias]
}

/// The gradients of a piece of rows; returns their sums for weight and bias, one after the other.
fn backward_rows<T: Real>(to_x: &mut [T], x: &[T], weight: &[T], gradient: &[T], eps: T, centre: Centre) -> Vec<T> {
    let width = weight.len();
    let mut sums = vec![T::zero(); 2 * width];
    simd(
        #[inline(always)]
        || {
            let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
            for (to_x, (x, gradient)) in to_x.chunks_exact_mut(width).zip(rows) {
                backward_row(to_x, &mut sums, x, weight, gradient, eps, centre);
            }
        },
    );
    sums
}

#[inline(always)]
fn backward_row<T: Real>(
    to_x: &mut [T],
    sums: &mut [T],
    x: &[T],
    weight: &[T],
    gradient: &[T],
    eps: T,
    centre: Centre,
) {
    let n = x.len();
    let (to_weight, to_bias) = sums.split_at_mut(n);
    let (to_x, weight, gradient, to_bias) = (&mut to_x[..n], &weight[..n], &gradient[..n], &mut to_bias[..n]);
    let (mean, scale) = moments(x, centre, eps);
    let share = T::of(1. / n as f64);
    for i in 0..n {
        to_x[i] = gradient[i] * weight[i];
    }
    let along = sum_of_pairs(
        to_x,
        x,
        #[inline(always)]
        |h, x| h * ((x - mean) * scale),
    ) * share;
    let level = match centre {
        Centre::Mean => {
            sum_of(
                to_x,
                #[inline(always)]
                |h| h,
            ) * share
        }
        Centre::Zero => T::zero(),
    };
    for i in 0..n {
        let normal = (x[i] - mean) * scale;
        to_x[i] = scale * (to_x[i] - level - normal * along);
        to_weight[i] += gradient[i] * normal;
        to_bias[i] += gradient[i];
    }
}
