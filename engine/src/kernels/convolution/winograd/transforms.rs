//! The transforms of squares and kernels, each of a vector of channels.

use super::super::super::vectors::Vectorised;
use super::PLACES;
use pulp::Simd;

#[inline(always)]
fn of_pixels<T: Vectorised, S: Simd>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 4] {
    [T::minus(simd, a, c), T::plus(simd, b, c), T::minus(simd, c, b), T::minus(simd, b, d)]
}

/// `B^T d B` of four by four pixels.
#[inline(always)]
pub(super) fn pixels<T: Vectorised, S: Simd>(simd: S, mut square: [T::Vector<S>; PLACES]) -> [T::Vector<S>; PLACES] {
    for column in 0..4 {
        let line = [square[column], square[4 + column], square[8 + column], square[12 + column]];
        let done = of_pixels::<T, S>(simd, line);
        for line in 0..4 {
            square[4 * line + column] = done[line];
        }
    }
    for line in 0..4 {
        let row = [square[4 * line], square[4 * line + 1], square[4 * line + 2], square[4 * line + 3]];
        square[4 * line..][..4].copy_from_slice(&of_pixels::<T, S>(simd, row));
    }
    square
}

#[inline(always)]
fn of_result<T: Vectorised, S: Simd>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 2] {
    [T::plus(simd, T::plus(simd, a, b), c), T::minus(simd, T::minus(simd, b, c), d)]
}

/// `A^T m A`: two by two pixels of sixteen products.
#[inline(always)]
pub(super) fn result<T: Vectorised, S: Simd>(simd: S, products: [T::Vector<S>; PLACES]) -> [T::Vector<S>; 4] {
    let mut lines = [[products[0]; 4]; 2];
    for column in 0..4 {
        let line = [products[column], products[4 + column], products[8 + column], products[12 + column]];
        let [first, second] = of_result::<T, S>(simd, line);
        (lines[0][column], lines[1][column]) = (first, second);
    }
    let ([a, b], [c, d]) = (of_result::<T, S>(simd, lines[0]), of_result::<T, S>(simd, lines[1]));
    [a, b, c, d]
}

#[inline(always)]
fn of_gradient<T: Vectorised, S: Simd>(simd: S, [a, b]: [T::Vector<S>; 2]) -> [T::Vector<S>; 4] {
    [a, T::plus(simd, a, b), T::minus(simd, a, b), T::minus(simd, T::splat(simd, T::zero()), b)]
}

/// `A y A^T`: the gradient of the products, of that of two by two pixels.
#[inline(always)]
pub(super) fn gradient<T: Vectorised, S: Simd>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; PLACES] {
    let (left, right) = (of_gradient::<T, S>(simd, [a, c]), of_gradient::<T, S>(simd, [b, d]));
    let mut square = [a; PLACES];
    for line in 0..4 {
        square[4 * line..][..4].copy_from_slice(&of_gradient::<T, S>(simd, [left[line], right[line]]));
    }
    square
}

#[inline(always)]
fn of_kernel<T: Vectorised, S: Simd>(simd: S, [a, b, c]: [T::Vector<S>; 3]) -> [T::Vector<S>; 4] {
    let half = T::splat(simd, T::of(0.5));
    let (ends, middle) = (T::times(simd, T::plus(simd, a, c), half), T::times(simd, b, half));
    [a, T::plus(simd, ends, middle), T::minus(simd, ends, middle), c]
}

/// `G g G^T` of a kernel's nine taps.
#[inline(always)]
pub(super) fn kernel<T: Vectorised, S: Simd>(simd: S, taps: [T::Vector<S>; 9]) -> [T::Vector<S>; PLACES] {
    let mut lines = [[taps[0]; 3]; 4];
    for column in 0..3 {
        let of_column = of_kernel::<T, S>(simd, [taps[column], taps[3 + column], taps[6 + column]]);
        for line in 0..4 {
            lines[line][column] = of_column[line];
        }
    }
    let mut square = [taps[0]; PLACES];
    for line in 0..4 {
        square[4 * line..][..4].copy_from_slice(&of_kernel::<T, S>(simd, lines[line]));
    }
    square
}

#[inline(always)]
fn of_taps<T: Vectorised, S: Simd>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 3] {
    let half = T::splat(simd, T::of(0.5));
    let (sum, difference) = (T::times(simd, T::plus(simd, b, c), half), T::times(simd, T::minus(simd, b, c), half));
    [T::plus(simd, a, sum), difference, T::plus(simd, sum, d)]
}

/// `G^T u G`: the gradient of a kernel's taps, of that of its transform.
#[inline(always)]
pub(super) fn taps<T: Vectorised, S: Simd>(simd: S, square: [T::Vector<S>; PLACES]) -> [T::Vector<S>; 9] {
    let mut lines = [[square[0]; 4]; 3];
    for column in 0..4 {
        let line = [square[column], square[4 + column], square[8 + column], square[12 + column]];
        let of_column = of_taps::<T, S>(simd, line);
        for tap in 0..3 {
            lines[tap][column] = of_column[tap];
        }
    }
    let mut taps = [square[0]; 9];
    for line in 0..3 {
        taps[3 * line..][..3].copy_from_slice(&of_taps::<T, S>(simd, lines[line]));
    }
    taps
}
