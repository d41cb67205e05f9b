//! Convolutions of images whose pixels are rows, without a copy of what the kernel sees: products read the pixels where
//! they lie, by a table of who sees whom.

mod reach;
mod rows;
mod weight;

pub(crate) use reach::Sizes;

use super::vectors::Vectorised;
use rows::{Panels, products};

/// Numbers per row of the packed matrices: one vector for few channels, two for more.
fn panel_width<T: Vectorised>(channels: usize) -> usize {
    let lanes = T::lanes();
    if channels <= lanes { lanes } else { 2 * lanes }
}

/// The convolution of `x` `[rows, in]` with `weight` `[out, taps, in]`.
pub(crate) fn forward<T: Vectorised>(x: &[T], weight: &[T], bias: Option<&[T]>, sizes: &Sizes) -> Vec<T> {
    products(x, &Panels::by_output(weight, sizes), bias, &sizes.reach(), sizes.images)
}

/// Its gradient for `x`.
pub(crate) fn to_input<T: Vectorised>(gradient: &[T], weight: &[T], sizes: &Sizes) -> Vec<T> {
    products(gradient, &Panels::by_input(weight, sizes), None, &sizes.reached_from(), sizes.images)
}

/// Its gradient for `weight`.
pub(crate) fn to_weight<T: Vectorised>(x: &[T], gradient: &[T], sizes: &Sizes) -> Vec<T> {
    weight::gradient(x, gradient, sizes)
}
