//! Convolutions by kernels of 3 by 3 with stride 1 in Winograd's form F(2 by 2, 3 by 3): 16 products for each four pixels
//! in place of 36.
//!
//! Squares of four by four pixels, which overlap by two, are transformed (`B^T d B`), and so are kernels (`G g G^T`); of
//! their products for each of the sixteen places two by two pixels of the result are made (`A^T m A`). All three passes
//! are linear, so the gradients are the transposed steps. Rounding errors are a few times those of the sums of nine
//! products; the tests have the bound. A number that is not finite reaches the two by two pixels around those that see it.
//!
//! # References
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.1.

mod products;
mod tiles;
mod transforms;
mod weight;

use super::super::vectors::Vectorised;
use super::rows::Panels;
use super::taps::Sizes;
use tiles::Tiles;

/// Places of a transformed square.
const PLACES: usize = 16;
/// Fewer pixels of an image do not pay for the transformed kernel, fewer channels not for the transformed squares; Miri, which is
/// slow, sees the form at small sizes. How many images there are does not count, so that an image has the same form in every batch.
const FEWEST_PIXELS: usize = if cfg!(miri) { 1 } else { 64 };
const FEWEST_CHANNELS: usize = if cfg!(miri) { 1 } else { 16 };

/// Whether the form is for these sizes.
pub(super) fn fits<T: Vectorised>(sizes: &Sizes) -> bool {
    let whole = |channels: usize| channels.is_multiple_of(T::lanes()) && channels >= FEWEST_CHANNELS;
    sizes.kernel == [3, 3]
        && sizes.stride == 1
        && sizes.padding.iter().all(|&padding| padding <= 2)
        && whole(sizes.n_in)
        && whole(sizes.n_out)
        && sizes.output[0] * sizes.output[1] >= FEWEST_PIXELS
}

/// As [`super::forward`].
pub(super) fn forward<T: Vectorised>(x: &[T], weight: &[T], bias: Option<&[T]>, sizes: &Sizes) -> Vec<T> {
    let tiles = Tiles::new(sizes.images, sizes.input, sizes.output, sizes.padding);
    products::products(x, &Panels::by_output(weight, sizes), bias, &tiles)
}

/// As [`super::to_input`]: the kernel is turned by half a turn.
pub(super) fn to_input<T: Vectorised>(gradient: &[T], weight: &[T], sizes: &Sizes) -> Vec<T> {
    let tiles = Tiles::new(sizes.images, sizes.output, sizes.input, sizes.padding.map(|padding| 2 - padding));
    let mut turned = Vec::with_capacity(weight.len());
    for kernel in weight.chunks_exact(9 * sizes.n_in) {
        kernel.chunks_exact(sizes.n_in).rev().for_each(|tap| turned.extend_from_slice(tap));
    }
    products::products(gradient, &Panels::by_input(&turned, sizes), None, &tiles)
}

/// As [`super::to_weight`].
pub(super) fn to_weight<T: Vectorised>(x: &[T], gradient: &[T], sizes: &Sizes) -> Vec<T> {
    let tiles = Tiles::new(sizes.images, sizes.input, sizes.output, sizes.padding);
    weight::gradient(x, gradient, sizes, &tiles)
}
