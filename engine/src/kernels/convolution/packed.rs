//! Convolutions: products of packed pixels, which are gathered under each tap of the kernel.

use super::super::bf16::{BLOCK, Form, Operand, Output, Packed, Product, Unit, fits};
use super::super::gemm::{Into, ViewMut};
use super::super::parallel::zeros;
use super::super::rows;
use super::shifted;
use super::taps::Sizes;
use rayon::prelude::*;

/// Lines of packed pixels at once: 32 MB.
const LINES: usize = 1 << 19;

/// Whether a convolution is computed in bf16 where bf16 is asked for.
pub(super) fn is_fit(sizes: &Sizes) -> bool {
    let has_pixels = sizes.input.iter().all(|&size| size > 0);
    has_pixels && fits(sizes.output[0] * sizes.output[1] * sizes.images, sizes.n_out, sizes.n_in)
}

/// `[rows of the output, out]` of `x` `[rows of the input, in]` and `weight` `[out, taps, in]`; none where there is no unit.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, sizes: &Sizes) -> Option<Vec<f32>> {
    let unit = Unit::of_this_cpu()?;
    Some(forward_by(unit, x, weight, bias, sizes))
}

fn forward_by(unit: Unit, x: &[f32], weight: &[f32], bias: Option<&[f32]>, sizes: &Sizes) -> Vec<f32> {
    let taps = sizes.taps();
    let of_tap = |tap: usize| Operand {
        data: &weight[tap * sizes.n_in..],
        rows: sizes.n_out,
        terms: sizes.n_in,
        terms_lie_together: true,
        stride: taps * sizes.n_in,
        table: None,
    };
    let weight: Vec<_> = (0..taps).map(of_tap).collect();
    let mut y = match shifted::Canvas::of_output(sizes) {
        Some(canvas) => shifted::products(unit, x, &weight, &canvas),
        None => gathered(unit, x, &weight, &sizes.reach().tables(sizes.images)),
    };
    if let Some(bias) = bias {
        rows::add_bias(&mut y, bias);
    }
    y
}

/// The gradient for `x`; none where there is no unit.
pub(super) fn to_input(gradient: &[f32], weight: &[f32], sizes: &Sizes) -> Option<Vec<f32>> {
    let unit = Unit::of_this_cpu()?;
    Some(to_input_by(unit, gradient, weight, sizes))
}

fn to_input_by(unit: Unit, gradient: &[f32], weight: &[f32], sizes: &Sizes) -> Vec<f32> {
    let taps = sizes.taps();
    let of_tap = |tap: usize| Operand {
        data: &weight[tap * sizes.n_in..],
        rows: sizes.n_in,
        terms: sizes.n_out,
        terms_lie_together: false,
        stride: taps * sizes.n_in,
        table: None,
    };
    let mut weight: Vec<_> = (0..taps).map(of_tap).collect();
    match shifted::Canvas::of_input(sizes) {
        Some(canvas) => {
            // The tap at the end of the kernel reaches back the least.
            weight.reverse();
            shifted::products(unit, gradient, &weight, &canvas)
        }
        None => gathered(unit, gradient, &weight, &sizes.reached_from().tables(sizes.images)),
    }
}

/// For each near pixel the sum over taps of the far pixel's row, which the tap's table names, times the tap's matrix.
fn gathered(unit: Unit, far: &[f32], weight: &[Operand<'_>], tables: &[Vec<u32>]) -> Vec<f32> {
    let Some((first, table)) = weight.first().zip(tables.first()) else { return Vec::new() };
    let (columns, terms, rows) = (first.rows, first.terms, table.len());
    let right = Packed::of_parts(unit, columns, weight, Form::Pairs);
    let mut y = zeros(rows * columns);
    let together = (LINES / right.depth.max(1)).max(1).next_multiple_of(BLOCK);
    for (index, y) in y.chunks_mut(together * columns).enumerate() {
        let rows = y.len() / columns;
        let here = tables.iter().map(|table| Some(&table[index * together..][..rows]));
        let parts: Vec<_> = here
            .map(|table| Operand { data: far, rows, terms, terms_lie_together: true, stride: terms, table })
            .collect();
        let left = Packed::of_parts(unit, rows, &parts, Form::Rows);
        let product = Product { unit, left: &left, right: &right, into: Into::Replace, scale: 1. };
        product.compute(&Output::of(ViewMut::new(y, rows, columns)));
    }
    y
}

/// The gradient for `weight`; none where there is no unit.
pub(super) fn to_weight(x: &[f32], gradient: &[f32], sizes: &Sizes) -> Option<Vec<f32>> {
    let unit = Unit::of_this_cpu()?;
    Some(to_weight_by(unit, x, gradient, sizes))
}

fn to_weight_by(unit: Unit, x: &[f32], gradient: &[f32], sizes: &Sizes) -> Vec<f32> {
    if let Some(canvas) = shifted::Canvas::of_output(sizes) {
        return shifted::to_weight(unit, x, gradient, sizes, &canvas);
    }
    let tables = sizes.reach().tables(sizes.images);
    let (n_in, n_out, taps) = (sizes.n_in, sizes.n_out, sizes.taps());
    let terms = gradient.len() / n_out;
    let pixels = |data, rows, table| Operand { data, rows, terms, terms_lie_together: false, stride: rows, table };
    let left = Packed::of(unit, pixels(gradient, n_out, None), Form::Rows);
    let mut weight = zeros(n_out * taps * n_in);
    let result = Output::of(ViewMut::new(&mut weight, n_out, taps * n_in));
    tables.par_iter().enumerate().with_max_len(1).for_each(|(tap, table)| {
        let right = Packed::of(unit, pixels(x, n_in, Some(table)), Form::Pairs);
        let product = Product { unit, left: &left, right: &right, into: Into::Replace, scale: 1. };
        // The columns of one tap.
        product.compute(&result.at_column(tap * n_in));
    });
    weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::bf16::rounded_numbers;
    use crate::kernels::convolution;
    use crate::ops::checks::numbers;

    #[cfg(not(miri))]
    #[test]
    fn convolutions_are_those_of_rounded_numbers() {
        let same = Sizes {
            images: 3,
            input: [14, 18],
            output: [14, 18],
            kernel: [3, 3],
            stride: 1,
            padding: [1, 1],
            n_in: 40,
            n_out: 17,
        };
        let strided = Sizes { input: [9, 8], output: [4, 4], stride: 2, padding: [0, 1], n_in: 64, n_out: 33, ..same };
        let single = Sizes { kernel: [1, 1], padding: [0, 0], n_in: 16, n_out: 70, ..same };
        let small = Sizes { input: [7, 9], output: [7, 9], ..same };
        let uneven = Sizes { output: [15, 16], kernel: [2, 4], padding: [1, 0], n_in: 32, n_out: 65, ..same };
        for (sizes, unit) in [same, small, strided, single, uneven]
            .into_iter()
            .flat_map(|sizes| Unit::all().map(move |unit| (sizes, unit)))
        {
            let of = |seed, n| rounded_numbers(&numbers(seed, n).into_iter().map(|x| x as f32).collect::<Vec<_>>());
            let rows = |image: [usize; 2]| sizes.images * image[0] * image[1];
            let x = of(1, rows(sizes.input) * sizes.n_in);
            let weight = of(2, sizes.n_out * sizes.taps() * sizes.n_in);
            let upstream = of(3, rows(sizes.output) * sizes.n_out);
            let bias = of(4, sizes.n_out);
            for (found, expected) in [
                (
                    forward_by(unit, &x, &weight, Some(&bias), &sizes),
                    convolution::forward(&x, &weight, Some(&bias), &sizes),
                ),
                (to_input_by(unit, &upstream, &weight, &sizes), convolution::to_input(&upstream, &weight, &sizes)),
                (to_weight_by(unit, &x, &upstream, &sizes), convolution::to_weight(&x, &upstream, &sizes)),
            ] {
                let size = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                assert_eq!(found.len(), expected.len());
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 3e-6 * size), "{sizes:?}");
            }
        }
    }
}
