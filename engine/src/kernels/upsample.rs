//! Nearest-neighbour upsampling of images stored as rows of pixels.

use super::Real;
use super::parallel::{filled, simd};

/// Repeats each pixel four times; `line` numbers per image row, `width` per pixel.
pub(crate) fn double<T: Real>(x: &[T], line: usize, width: usize) -> Vec<T> {
    filled(4 * x.len(), 4 * line, |index, result| {
        let x = &x[index * line..][..line];
        let (upper, lower) = result.split_at_mut(2 * line);
        for (pair, pixel) in upper.chunks_exact_mut(2 * width).zip(x.chunks_exact(width)) {
            let (left, right) = pair.split_at_mut(width);
            left.copy_from_slice(pixel);
            right.copy_from_slice(pixel);
        }
        lower.copy_from_slice(upper);
    })
}

/// The gradient of [`double`]: sums of four pixels.
pub(crate) fn sum_fours<T: Real>(gradient: &[T], line: usize, width: usize) -> Vec<T> {
    filled(gradient.len() / 4, line, |index, result| {
        let (upper, lower) = gradient[4 * index * line..][..4 * line].split_at(2 * line);
        let pairs = upper.chunks_exact(2 * width).zip(lower.chunks_exact(2 * width));
        simd(
            #[inline(always)]
            || {
                for (sum, (upper, lower)) in result.chunks_exact_mut(width).zip(pairs) {
                    let ((a, b), (c, d)) = (upper.split_at(width), lower.split_at(width));
                    for ((((sum, &a), &b), &c), &d) in sum.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                        *sum = (a + b) + (c + d);
                    }
                }
            },
        );
    })
}
