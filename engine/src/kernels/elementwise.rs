//! Activation functions and their derivatives.

use super::Real;
use super::parallel::{PIECE, filled, filled_parts, filled_rows, simd};
use rayon::prelude::*;

/// A function of one number and its derivative.
pub(crate) trait Curve: Send + Sync + 'static {
    /// Name of the op.
    const NAME: &'static str;
    /// `f(x)`.
    fn value<T: Real>(x: T) -> T;
    /// `f'(x)`.
    fn slope<T: Real>(x: T) -> T;
}

/// `x Phi(x)`.
#[derive(Debug)]
pub(crate) struct Gelu;
/// `x sigmoid(2 u)`, `u = sqrt(2/pi) (x + 0.044715 x^3)`: `(1 + tanh(u)) / 2 = sigmoid(2 u)`.
#[derive(Debug)]
pub(crate) struct GeluTanh;
/// `x sigmoid(x)`.
#[derive(Debug)]
pub(crate) struct Silu;

/// `x sigmoid(1.702 x)`.
#[derive(Debug)]
pub(crate) struct QuickGelu;
/// `tanh(x)`, which is `2 sigmoid(2 x) - 1`.
#[derive(Debug)]
pub(crate) struct Tanh;
/// `x`.
#[derive(Debug)]
pub(crate) struct Same;

impl Curve for Gelu {
    const NAME: &'static str = "gelu";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x * x.normal().0
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let (distribution, density) = x.normal();
        x.fused(density, distribution)
    }
}

/// `2 sqrt(2 / pi)` and that times 0.044715.
const TWICE_ROOT: f64 = 1.595_769_121_605_731;
const TWICE_CUBIC: f64 = TWICE_ROOT * 0.044_715;

impl Curve for GeluTanh {
    const NAME: &'static str = "gelu-tanh";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x * (x * (x * x).fused(T::of(TWICE_CUBIC), T::of(TWICE_ROOT))).sigmoid()
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let square = x * x;
        let gate = (x * square.fused(T::of(TWICE_CUBIC), T::of(TWICE_ROOT))).sigmoid();
        let steepness = square.fused(T::of(3. * TWICE_CUBIC), T::of(TWICE_ROOT));
        (x * gate * (T::one() - gate)).fused(steepness, gate)
    }
}

impl Curve for Silu {
    const NAME: &'static str = "silu";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x * x.sigmoid()
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let gate = x.sigmoid();
        (x * gate).fused(T::one() - gate, gate)
    }
}

impl Curve for QuickGelu {
    const NAME: &'static str = "quick-gelu";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x * (x * T::of(1.702)).sigmoid()
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let steep = x * T::of(1.702);
        let gate = steep.sigmoid();
        (steep * gate).fused(T::one() - gate, gate)
    }
}

impl Curve for Tanh {
    const NAME: &'static str = "tanh";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        (x + x).sigmoid().fused(T::of(2.), -T::one())
    }

    #[inline(always)]
    fn slope<T: Real>(x: T) -> T {
        let gate = (x + x).sigmoid();
        T::of(4.) * gate * (T::one() - gate)
    }
}

impl Curve for Same {
    const NAME: &'static str = "same";

    #[inline(always)]
    fn value<T: Real>(x: T) -> T {
        x
    }

    #[inline(always)]
    fn slope<T: Real>(_: T) -> T {
        T::one()
    }
}

/// `f(x)`, element by element.
pub(crate) fn values<T: Real, C: Curve>(x: &[T]) -> Vec<T> {
    filled(x.len(), PIECE, |part, result| {
        let x = &x[part * PIECE..];
        simd(
            #[inline(always)]
            || {
                for (result, &x) in result.iter_mut().zip(x) {
                    *result = C::value(x);
                }
            },
        );
    })
}

/// `gradient * f'(x)`, element by element.
pub(crate) fn slopes<T: Real, C: Curve>(x: &[T], gradient: &[T]) -> Vec<T> {
    combine(
        x,
        gradient,
        #[inline(always)]
        |x, gradient| gradient * C::slope(x),
    )
}

/// `a + b`, element by element.
pub(crate) fn add<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    combine(
        a,
        b,
        #[inline(always)]
        |a, b| a + b,
    )
}

/// Adds `b` to `a`, element by element.
pub(crate) fn add_onto<T: Real>(a: &mut [T], b: &[T]) {
    a.par_chunks_mut(PIECE).zip(b.par_chunks(PIECE)).for_each(|(a, b)| {
        simd(
            #[inline(always)]
            || a.iter_mut().zip(b).for_each(|(a, &b)| *a += b),
        );
    });
}

/// `silu(gate) * up`, element by element.
pub(crate) fn swiglu<T: Real>(gate: &[T], up: &[T]) -> Vec<T> {
    combine(
        gate,
        up,
        #[inline(always)]
        |gate, up| Silu::value(gate) * up,
    )
}

fn combine<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    filled(a.len(), PIECE, |part, result| {
        let (a, b) = (&a[part * PIECE..], &b[part * PIECE..]);
        simd(
            #[inline(always)]
            || {
                for (result, (&a, &b)) in result.iter_mut().zip(a.iter().zip(b)) {
                    *result = f(a, b);
                }
            },
        );
    })
}

/// Gradients of [`swiglu`] for `gate` and for `up`.
pub(crate) fn swiglu_slopes<T: Real>(gate: &[T], up: &[T], gradient: &[T]) -> (Vec<T>, Vec<T>) {
    let n = gradient.len();
    let lens = (0..n).step_by(PIECE).map(|first| PIECE.min(n - first));
    let ([to_gate, to_up], _) = filled_parts(lens, |part, [to_gate, to_up]: [&mut [T]; 2]| {
        let [gate, up, gradient] = [gate, up, gradient].map(|all| &all[part * PIECE..][..to_up.len()]);
        simd(
            #[inline(always)]
            || {
                for index in 0..gradient.len() {
                    to_gate[index] = gradient[index] * up[index] * Silu::slope(gate[index]);
                    to_up[index] = gradient[index] * Silu::value(gate[index]);
                }
            },
        );
    });
    (to_gate, to_up)
}

/// First half of each row times the exact `gelu` of the second; rows of `2 width`.
pub(crate) fn geglu<T: Real>(x: &[T], width: usize) -> Vec<T> {
    filled_rows(x.len() / 2, width, |first, rows| {
        let x = &x[2 * first * width..];
        simd(
            #[inline(always)]
            || {
                for (row, x) in rows.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
                    let (up, gate) = x.split_at(width);
                    for (y, (&up, &gate)) in row.iter_mut().zip(up.iter().zip(gate)) {
                        *y = up * Gelu::value(gate);
                    }
                }
            },
        );
    })
}

/// Gradient of [`geglu`] for both halves.
pub(crate) fn geglu_slopes<T: Real>(x: &[T], gradient: &[T], width: usize) -> Vec<T> {
    filled_rows(x.len(), 2 * width, |first, rows| {
        let (x, gradient) = (&x[2 * first * width..][..rows.len()], &gradient[first * width..]);
        simd(
            #[inline(always)]
            || {
                let inputs = x.chunks_exact(2 * width).zip(gradient.chunks_exact(width));
                for (row, (x, gradient)) in rows.chunks_exact_mut(2 * width).zip(inputs) {
                    let ((to_up, to_gate), (up, gate)) = (row.split_at_mut(width), x.split_at(width));
                    for i in 0..width {
                        let (distribution, density) = gate[i].normal();
                        to_up[i] = gradient[i] * (gate[i] * distribution);
                        to_gate[i] = gradient[i] * up[i] * gate[i].fused(density, distribution);
                    }
                }
            },
        );
    })
}
