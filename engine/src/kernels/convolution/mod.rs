//! Implicit-GEMM convolutions of images stored as one row per pixel (no im2col): products read the pixels in place, by
//! a table of the pixels under each tap of the kernel.

/// Computes a task `T` with the register tiles of the CPU `S`: `WIDE_TILE` rows with the registers of AVX-512, `NARROW_TILE` with those
/// of others, of one vector or two.
macro_rules! by_registers {
    ($task:expr, $simd:expr, $width:expr) => {{
        let lanes = T::lanes_of($simd);
        match (lanes * size_of::<T>() >= 64, $width > lanes) {
            (true, true) => $task.compute::<S, WIDE_TILE, 2>($simd),
            (true, false) => $task.compute::<S, WIDE_TILE, 1>($simd),
            (false, true) => $task.compute::<S, NARROW_TILE, 2>($simd),
            (false, false) => $task.compute::<S, NARROW_TILE, 1>($simd),
        }
    }};
}

mod packed;
mod rows;
mod shifted;
mod taps;
mod weight;
mod winograd;

pub(crate) use taps::Sizes;

use super::bf16;
use super::vectors::Vectorised;
use crate::Precision;
use rows::{Panels, products};

/// Numbers per row of the packed matrices: one vector for few channels, two for more.
fn panel_width<T: Vectorised>(channels: usize) -> usize {
    let lanes = T::lanes();
    if channels <= lanes { lanes } else { 2 * lanes }
}

/// The convolution of `x` `[rows, in]` with `weight` `[out, taps, in]`.
pub(crate) fn forward<T: Vectorised>(x: &[T], weight: &[T], bias: Option<&[T]>, sizes: &Sizes) -> Vec<T> {
    in_precision(
        [x, weight],
        sizes,
        |[x, weight]| packed::forward(x, weight, bias.and_then(T::singles), sizes),
        |[x, weight]| {
            if winograd::fits::<T>(sizes) {
                return winograd::forward(x, weight, bias, sizes);
            }
            products(x, &Panels::by_output(weight, sizes), bias, &sizes.reach(), sizes.images)
        },
    )
}

/// The gradient for `x`.
pub(crate) fn to_input<T: Vectorised>(gradient: &[T], weight: &[T], sizes: &Sizes) -> Vec<T> {
    in_precision(
        [gradient, weight],
        sizes,
        |[gradient, weight]| packed::to_input(gradient, weight, sizes),
        |[gradient, weight]| {
            if winograd::fits::<T>(sizes) {
                return winograd::to_input(gradient, weight, sizes);
            }
            products(gradient, &Panels::by_input(weight, sizes), None, &sizes.reached_from(), sizes.images)
        },
    )
}

/// The gradient for `weight`.
pub(crate) fn to_weight<T: Vectorised>(x: &[T], gradient: &[T], sizes: &Sizes) -> Vec<T> {
    in_precision(
        [x, gradient],
        sizes,
        |[x, gradient]| packed::to_weight(x, gradient, sizes),
        |[x, gradient]| {
            if winograd::fits::<T>(sizes) {
                return winograd::to_weight(x, gradient, sizes);
            }
            weight::gradient(x, gradient, sizes)
        },
    )
}

/// Computes with the unit of bf16 where the process asks for it, with numbers rounded to bf16 where there is none, or in full.
fn in_precision<T: Vectorised>(
    operands: [&[T]; 2],
    sizes: &Sizes,
    by_unit: impl FnOnce([&[f32]; 2]) -> Option<Vec<f32>>,
    in_full: impl Fn([&[T]; 2]) -> Vec<T>,
) -> Vec<T> {
    if Precision::of_process() == Precision::F32 || !packed::is_fit(sizes) {
        return in_full(operands);
    }
    let (Some(first), Some(second)) = (T::singles(operands[0]), T::singles(operands[1])) else {
        return in_full(operands);
    };
    if let Some(result) = by_unit([first, second]) {
        return T::of_singles(result);
    }
    let rounded = [first, second].map(|numbers| T::of_singles(bf16::rounded_numbers(numbers)));
    in_full([&rounded[0], &rounded[1]])
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

    /// Runs all three passes on three threads.
    fn passes<T: Vectorised>(x: &[f64], weight: &[f64], upstream: &[f64], sizes: &Sizes) -> [Vec<f64>; 3] {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let of = |numbers: &[f64]| numbers.iter().map(|&x| T::of(x)).collect::<Vec<T>>();
        let (x, weight, upstream) = (of(x), of(weight), of(upstream));
        let passes = threads.install(|| {
            let y = forward(&x, &weight, None, sizes);
            [y, to_input(&upstream, &weight, sizes), to_weight(&x, &upstream, sizes)]
        });
        passes.map(|numbers| numbers.into_iter().map(T::wide).collect())
    }

    #[cfg_attr(miri, ignore = "of many pixels")]
    #[test]
    fn winograds_form_is_as_near_to_the_definition_as_rounding_allows() {
        let padded = |padding: [usize; 2], input: [usize; 2], output: [usize; 2], n_in, n_out| Sizes {
            images: 5,
            input,
            output,
            kernel: [3, 3],
            stride: 1,
            padding,
            n_in,
            n_out,
        };
        for sizes in [
            padded([1, 1], [8, 9], [8, 9], 48, 16),
            padded([0, 2], [11, 9], [9, 10], 16, 64),
            padded([2, 0], [7, 15], [9, 13], 32, 80),
        ] {
            assert!(winograd::fits::<f32>(&sizes) && winograd::fits::<f64>(&sizes));
            let rows = |image: [usize; 2]| sizes.images * image[0] * image[1];
            let x = numbers(1, rows(sizes.input) * sizes.n_in);
            let weight = numbers(2, sizes.n_out * 9 * sizes.n_in);
            let upstream = numbers(3, rows(sizes.output) * sizes.n_out);
            let expected = by_definition(&x, &weight, &upstream, &sizes);
            let double = passes::<f64>(&x, &weight, &upstream, &sizes);
            let single = passes::<f32>(&x, &weight, &upstream, &sizes);
            for (expected, (double, single)) in expected.iter().zip(double.iter().zip(&single)) {
                let size = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len() as f64).sqrt();
                let error = |found: &[f64]| {
                    assert_eq!(found.len(), expected.len());
                    found.iter().zip(expected).fold(0f64, |worst, (a, b)| worst.max((a - b).abs())) / size
                };
                assert!(error(double) < 1e-14, "{sizes:?}: off by {}", error(double));
                assert!(error(single) < 4e-6, "{sizes:?}: off by {}", error(single));
            }
        }
    }

    #[test]
    fn threads_compute_what_the_definition_says() {
        // Small images under Miri, which is slow; still more than one piece of rows.
        let (input, strided) = if cfg!(miri) { ([4, 4], [3, 1]) } else { ([5, 6], [3, 2]) };
        let few =
            Sizes { images: 2, input, output: input, kernel: [3, 3], stride: 1, padding: [1, 1], n_in: 3, n_out: 5 };
        let many = Sizes { output: strided, kernel: [2, 3], stride: 2, padding: [1, 0], n_in: 17, n_out: 18, ..few };
        for sizes in [few, many] {
            let rows = |image: [usize; 2]| sizes.images * image[0] * image[1];
            let x = numbers(1, rows(sizes.input) * sizes.n_in);
            let weight = numbers(2, sizes.n_out * sizes.taps() * sizes.n_in);
            let upstream = numbers(3, rows(sizes.output) * sizes.n_out);
            let ours = passes::<f64>(&x, &weight, &upstream, &sizes);
            for (ours, expected) in ours.iter().zip(by_definition(&x, &weight, &upstream, &sizes)) {
                assert_eq!(ours.len(), expected.len());
                assert!(ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
            }
        }
    }
}
