//! Convolutions of stride 1 as products of shifted rows: nothing is gathered.
//!
//! Images lie on canvases with room for the padding, one behind the other, and a pixel of the result at the place of the first tap: so
//! the pixels under a tap of consecutive pixels are consecutive, a distance away that only the tap decides. What is computed between
//! the images' lines is left.

use super::super::bf16::{BLOCK, Form, Left, Line, Operand, Output, Packed, Right, Sums, TILE, Unit, steps, store};
use super::super::gemm::{Into, ViewMut};
use super::super::parallel::{filled_rows, zeros};
use super::taps::{NOTHING, Sizes};
use rayon::prelude::*;

/// Blocks of rows of a task.
const ROWS: usize = 8;
/// Blocks of 32 pixels that a task of a weight's gradient multiplies at once.
const PIXELS: usize = 64;

/// Where the pixels of both sides lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    images: usize,
    /// The near image, which is computed.
    near: [usize; 2],
    /// The far image, which is read.
    far: [usize; 2],
    /// The place of the far image.
    corner: [usize; 2],
    /// Height and width with room for the kernel.
    size: [usize; 2],
    kernel: [usize; 2],
}

impl Canvas {
    /// For the output; none unless the stride is 1.
    pub(super) fn of_output(sizes: &Sizes) -> Option<Self> {
        Self::new(sizes, sizes.output, sizes.input, sizes.padding)
    }

    /// For the gradient of the input, which the output reaches by the kernel turned around; none unless the stride is 1 and the
    /// padding smaller than the kernel.
    pub(super) fn of_input(sizes: &Sizes) -> Option<Self> {
        let [down, right] = [0, 1].map(|axis| (sizes.kernel[axis] - 1).checked_sub(sizes.padding[axis]));
        Self::new(sizes, sizes.input, sizes.output, [down?, right?])
    }

    fn new(sizes: &Sizes, near: [usize; 2], far: [usize; 2], corner: [usize; 2]) -> Option<Self> {
        let size = [0, 1].map(|axis| near[axis] + sizes.kernel[axis] - 1);
        // A far image that is cut off would have pixels that no tap reaches.
        let fits = (0..2).all(|axis| corner[axis] + far[axis] <= size[axis]);
        // Of small images most would be computed in vain.
        let is_small = 2 * size[0] * size[1] > 3 * near[0] * near[1];
        (sizes.stride == 1 && fits && !is_small).then_some(Self {
            images: sizes.images,
            near,
            far,
            corner,
            size,
            kernel: sizes.kernel,
        })
    }

    fn of_image(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Places from the first pixel of the result to the last.
    fn places(&self) -> usize {
        (self.images - 1) * self.of_image() + (self.near[0] - 1) * self.size[1] + self.near[1]
    }

    /// The distances of the taps.
    fn shifts(&self) -> impl Iterator<Item = usize> {
        let [height, width] = self.kernel;
        (0..height).flat_map(move |down| (0..width).map(move |right| down * self.size[1] + right))
    }

    /// The pixel of an image of a size at a place, if there is one; the image's first pixel is at `corner`.
    fn pixel(&self, place: usize, image: [usize; 2], corner: [usize; 2]) -> Option<usize> {
        let (index, place) = (place / self.of_image(), place % self.of_image());
        let row = (place / self.size[1]).checked_sub(corner[0]).filter(|&row| row < image[0])?;
        let column = (place % self.size[1]).checked_sub(corner[1]).filter(|&column| column < image[1])?;
        (index < self.images).then_some((index * image[0] + row) * image[1] + column)
    }

    /// The far pixel at each of the first `n` places.
    fn far_pixels(&self, n: usize) -> Vec<u32> {
        (0..n).map(|place| self.pixel(place, self.far, self.corner).map_or(NOTHING, |pixel| pixel as u32)).collect()
    }
}

/// `[near pixels, columns]`: the sum over taps of the far pixels' rows times the tap's matrix.
pub(super) fn products(unit: Unit, far: &[f32], weight: &[Operand<'_>], canvas: &Canvas) -> Vec<f32> {
    let Some(first) = weight.first() else { return Vec::new() };
    let (columns, terms) = (first.rows, first.terms);
    let right = Packed::of_parts(unit, columns, weight, Form::Pairs);
    let row = terms.div_ceil(BLOCK);
    let lines = drawn(unit, far, terms, canvas);
    let steps: Vec<usize> = canvas.shifts().flat_map(|shift| (0..row).map(move |block| shift * row + block)).collect();
    let n = canvas.images * canvas.near[0] * canvas.near[1] * columns;
    let mut y = zeros(n);
    let result = Output::of(ViewMut::new(&mut y, n / columns, columns));
    (0..canvas.places().div_ceil(ROWS * BLOCK)).into_par_iter().with_max_len(1).for_each(|task| {
        unit.run(|| {
            let mut sums = Sums::default();
            for column in 0..columns.div_ceil(BLOCK) {
                for place in (task * ROWS * BLOCK..canvas.places().min((task + 1) * ROWS * BLOCK)).step_by(BLOCK) {
                    let left = Left { lines: &lines[place * row..], steps: &steps, row };
                    unit.block(left, right.right(column, 0..right.depth), &mut sums);
                    let first = column * BLOCK;
                    for (index, sums) in sums.rows().enumerate() {
                        if let Some(pixel) = canvas.pixel(place + index, canvas.near, [0, 0]) {
                            let sums = &sums[..BLOCK.min(columns - first)];
                            store(unit, &result, [pixel, first], sums, (Into::Replace, 1.));
                        }
                    }
                }
            }
        });
    });
    y
}

/// The far pixels on the canvas, as many lines a pixel as its numbers need, and zeros where there is none.
fn drawn(unit: Unit, far: &[f32], terms: usize, canvas: &Canvas) -> Vec<Line> {
    let row = terms.div_ceil(BLOCK);
    // A block of rows may begin at the last place.
    let pixels = canvas.far_pixels(canvas.images * canvas.of_image() + BLOCK);
    filled_rows(pixels.len() * row, row, |first, lines| {
        for (lines, &pixel) in lines.chunks_exact_mut(row).zip(&pixels[first..]) {
            if pixel != NOTHING {
                for (line, terms) in lines.iter_mut().zip(far[pixel as usize * terms..][..terms].chunks(BLOCK)) {
                    *line = unit.line(terms);
                }
            }
        }
    })
}

/// The gradient for `weight`: for each tap the near pixels' rows, turned, times the far pixels' rows a distance away.
pub(super) fn to_weight(unit: Unit, x: &[f32], gradient: &[f32], sizes: &Sizes, canvas: &Canvas) -> Vec<f32> {
    let (n_in, n_out, taps) = (sizes.n_in, sizes.n_out, sizes.taps());
    let places = canvas.places();
    let near: Vec<u32> = (0..places)
        .map(|place| canvas.pixel(place, canvas.near, [0, 0]).map_or(NOTHING, |pixel| pixel as u32))
        .collect();
    let left = Operand {
        data: gradient,
        rows: n_out,
        terms: places,
        terms_lie_together: false,
        stride: n_out,
        table: Some(&near),
    };
    let left = Packed::of(unit, left, Form::Rows);
    let far = Pairs::of(unit, x, n_in, canvas, left.depth);
    let mut weight = zeros(n_out * taps * n_in);
    let result = Output::of(ViewMut::new(&mut weight, n_out, taps * n_in));
    let shifts: Vec<usize> = canvas.shifts().collect();
    let blocks = n_in.div_ceil(BLOCK);
    let steps = steps(PIXELS);
    (0..taps * blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let (tap, column) = (task / blocks, task % blocks);
        unit.run(|| {
            let mut sums = Sums::default();
            for first in (0..left.depth).step_by(PIXELS) {
                let terms = first..left.depth.min(first + PIXELS);
                let into = if first == 0 { Into::Replace } else { Into::Add };
                for row in 0..n_out.div_ceil(BLOCK) {
                    unit.block(left.left(row, terms.clone(), &steps), far.right(column, first, shifts[tap]), &mut sums);
                    let columns = BLOCK.min(n_in - column * BLOCK);
                    for (index, sums) in sums.rows().take(n_out - row * BLOCK).enumerate() {
                        let place = [row * BLOCK + index, tap * n_in + column * BLOCK];
                        store(unit, &result, place, &sums[..columns], (into, 1.));
                    }
                }
            }
        });
    });
    weight
}

/// The far pixels as a right operand that may begin at any place: pairs from the even places on, and from the odd ones.
struct Pairs {
    /// By parity `[sixteen channels, pair]`.
    lines: [Vec<Line>; 2],
    /// Pairs of a parity.
    n: usize,
}

impl Pairs {
    fn of(unit: Unit, x: &[f32], n_in: usize, canvas: &Canvas, depth: usize) -> Self {
        let furthest = canvas.shifts().max().unwrap_or(0);
        let n = (depth * BLOCK + furthest).div_ceil(2).next_multiple_of(TILE);
        let pixels = canvas.far_pixels(2 * n + 1);
        let halves = n_in.div_ceil(BLOCK) * 2;
        let of_parity = |parity: usize| {
            let table = &pixels[parity..][..2 * n];
            let far = Operand {
                data: x,
                rows: n_in,
                terms: 2 * n,
                terms_lie_together: false,
                stride: n_in,
                table: Some(table),
            };
            Packed::halves(unit, &far, halves)
        };
        Self { lines: [of_parity(0), of_parity(1)], n }
    }

    /// From a block of pixels on, shifted, a block of channels.
    fn right(&self, column: usize, block: usize, shift: usize) -> Right<'_> {
        let (lines, first) = (&self.lines[shift % 2], block * TILE + shift / 2);
        let half = |half: usize| &lines[(2 * column + half) * self.n + first..(2 * column + half + 1) * self.n];
        Right { halves: [half(0), half(1)], step: TILE }
    }
}
