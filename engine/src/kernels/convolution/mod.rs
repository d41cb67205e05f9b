//! Implicit-GEMM convolutions of images stored as one row per pixel (no im2col): products read the pixels in place, by
//! a table of the pixels under each tap of the kernel.

mod rows;
mod taps;
mod weight;

pub(crate) use taps::Sizes;

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

/// The gradient for `x`.
pub(crate) fn to_input<T: Vectorised>(gradient: &[T], weight: &[T], sizes: &Sizes) -> Vec<T> {
    products(gradient, &Panels::by_input(weight, sizes), None, &sizes.reached_from(), sizes.images)
}

/// The gradient for `weight`.
pub(crate) fn to_weight<T: Vectorised>(x: &[T], gradient: &[T], sizes: &Sizes) -> Vec<T> {
    weight::gradient(x, gradient, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::checks::numbers;

    /// The result and the gradients for `x` and `weight`, term by term.
    fn by_definition(x: &[f64], weight: &[f64], upstream: &[f64], sizes: &Sizes) -> [Vec<f64>; 3] {
        let (n_in, n_out, taps) = (sizes.n_in, sizes.n_out, sizes.kernel[0] * sizes.kernel[1]);
        let [mut y, mut to_x, mut to_weight] = [upstream, x, weight].map(|like| vec![0.; like.len()]);
        for row in 0..y.len() / n_out {
            let (line, column) = (row / sizes.output[1], row % sizes.output[1]);
            let (image, line) = (line / sizes.output[0], line % sizes.output[0]);
            for tap in 0..taps {
                let down = (line * sizes.stride + tap / sizes.kernel[1]).checked_sub(sizes.padding[0]);
                let right = (column * sizes.stride + tap % sizes.kernel[1]).checked_sub(sizes.padding[1]);
                let inside = |at: Option<usize>, axis: usize| at.filter(|&at| at < sizes.input[axis]);
                let Some((down, right)) = inside(down, 0).zip(inside(right, 1)) else { continue };
                let from = (image * sizes.input[0] + down) * sizes.input[1] + right;
                for (output, input) in (0..n_out).flat_map(|output| (0..n_in).map(move |input| (output, input))) {
                    let place = (output * taps + tap) * n_in + input;
                    y[row * n_out + output] += x[from * n_in + input] * weight[place];
                    to_x[from * n_in + input] += upstream[row * n_out + output] * weight[place];
                    to_weight[place] += upstream[row * n_out + output] * x[from * n_in + input];
                }
            }
        }
        [y, to_x, to_weight]
    }

    #[test]
    fn threads_compute_what_the_definition_says() {
        // Small images under Miri, which is slow; still more than one piece of rows.
        let (input, strided) = if cfg!(miri) { ([4, 4], [3, 1]) } else { ([5, 6], [3, 2]) };
        let few =
            Sizes { images: 2, input, output: input, kernel: [3, 3], stride: 1, padding: [1, 1], n_in: 3, n_out: 5 };
        let many = Sizes { output: strided, kernel: [2, 3], stride: 2, padding: [1, 0], n_in: 17, n_out: 18, ..few };
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for sizes in [few, many] {
            let rows = |image: [usize; 2]| sizes.images * image[0] * image[1];
            let x = numbers(1, rows(sizes.input) * sizes.n_in);
            let weight = numbers(2, sizes.n_out * sizes.taps() * sizes.n_in);
            let upstream = numbers(3, rows(sizes.output) * sizes.n_out);
            let ours = threads.install(|| {
                let y = forward(&x, &weight, None, &sizes);
                [y, to_input(&upstream, &weight, &sizes), to_weight(&x, &upstream, &sizes)]
            });
            for (ours, expected) in ours.iter().zip(by_definition(&x, &weight, &upstream, &sizes)) {
                assert_eq!(ours.len(), expected.len());
                assert!(ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
            }
        }
    }
}
