//! The soft bound of scores and logits, `cap tanh(x / cap)`.

use super::Real;
use super::parallel::simd;

/// Bounds numbers softly.
pub(crate) fn soft_cap<T: Real>(x: &mut [T], cap: f64) {
    let (cap, share) = (T::of(cap), T::of(1. / cap));
    simd(
        #[inline(always)]
        || {
            for x in x {
                *x = cap * (*x * share).hyperbolic_tangent();
            }
        },
    );
}

/// Bounded numbers to the slopes of the bound there, `1 - (x / cap)^2`.
pub(crate) fn cap_slopes<T: Real>(x: &mut [T], cap: f64) {
    let share = T::of(1. / cap);
    simd(
        #[inline(always)]
        || {
            for x in x {
                let tangent = *x * share;
                *x = T::one() - tangent * tangent;
            }
        },
    );
}
