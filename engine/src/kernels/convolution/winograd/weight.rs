//! The gradient for the kernel: that of its transform is a sum over squares, place by place.

use super::super::super::vectors::Vectorised;
use super::super::panel_width;
use super::super::taps::{NOTHING, Sizes};
use super::tiles::{Square, Tiles};
use super::{PLACES, transforms};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Squares of a block, whose transforms stay in the cache.
const BLOCK: usize = 32;
/// Numbers between places, so that the same number of all places is not in the same lines of the cache.
const GAP: usize = 16;
/// Outputs per register tile, with the 32 registers of AVX-512 and with the 16 of others. Five of the wide tiles hold
/// 64 outputs and waste one.
const WIDE_TILE: usize = 13;
const NARROW_TILE: usize = 4;
/// Tasks that are worth dividing the squares for, and the fewest squares of one.
const TASKS: usize = 8;
const FEWEST: usize = 128;

/// `[out, taps, in]` from `x` `[rows, in]` and the gradient `[rows, out]`.
///
/// Squares are divided by the sizes alone, so the result does not depend on the number of threads.
pub(super) fn gradient<T: Vectorised>(x: &[T], gradient: &[T], sizes: &Sizes, tiles: &Tiles) -> Vec<T> {
    let Sizes { n_in, n_out, .. } = *sizes;
    assert!(x.len() == tiles.n_from * n_in && gradient.len() == tiles.n_to * n_out, "images of other sizes");
    let width = panel_width::<T>(n_in);
    let n_panels = n_in.div_ceil(width);
    let n_parts = (TASKS / n_panels).min(tiles.squares.len() / FEWEST).max(1);
    let parts: Vec<&[Square]> = tiles.squares.chunks(tiles.squares.len().div_ceil(n_parts).max(1)).collect();
    let zeros = vec![T::zero(); n_in.max(n_out)];
    let work = Work { x, gradient, zeros: &zeros, width, n_in, n_out };
    let sums: Vec<Vec<T>> = (0..n_panels * parts.len())
        .into_par_iter()
        .with_max_len(1)
        .map(|task| {
            let (panel, part) = (task / parts.len(), task % parts.len());
            Arch::new().dispatch(PanelPart { panel, squares: parts[part], work: &work })
        })
        .collect();
    let mut result = vec![T::zero(); n_out * 9 * n_in];
    result.par_chunks_exact_mut(9 * n_in).enumerate().for_each(|(output, kernel)| {
        for (panel, sums) in sums.chunks_exact(parts.len()).enumerate() {
            Arch::new().dispatch(Taps { kernel, output, panel, sums, work: &work });
        }
    });
    result
}

struct Work<'a, T> {
    x: &'a [T],
    gradient: &'a [T],
    zeros: &'a [T],
    width: usize,
    n_in: usize,
    n_out: usize,
}

/// Some squares, for the inputs of one panel.
struct PanelPart<'a, T> {
    panel: usize,
    squares: &'a [Square],
    work: &'a Work<'a, T>,
}

impl<T: Vectorised> WithSimd for PanelPart<'_, T> {
    /// `[place, out, input of the panel]`.
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        by_registers!(self, simd, self.work.width)
    }
}

impl<T: Vectorised> PanelPart<'_, T> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) -> Vec<T> {
        let Work { width, n_out, .. } = *self.work;
        let (of_inputs, of_outputs) = (BLOCK * width + GAP, BLOCK * n_out + GAP);
        let mut inputs = vec![T::zero(); PLACES * of_inputs];
        let mut outputs = vec![T::zero(); PLACES * of_outputs];
        let mut sums = vec![T::zero(); PLACES * n_out * width];
        for squares in self.squares.chunks(BLOCK) {
            self.work.read(simd, squares, self.panel * width, &mut inputs, of_inputs);
            self.work.spread(simd, squares, &mut outputs, of_outputs);
            for (place, sums) in sums.chunks_exact_mut(n_out * width).enumerate() {
                let inputs = T::vectors(simd, &inputs[place * of_inputs..][..squares.len() * width]);
                let outputs = &outputs[place * of_outputs..][..squares.len() * n_out];
                add::<T, S, ROWS, VECTORS>(simd, T::vectors_mut(simd, sums), outputs, inputs, n_out);
            }
        }
        sums
    }
}

/// Adds `outputs^T inputs` over squares to `sums[out, input of the panel]`.
#[inline(always)]
fn add<T: Vectorised, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [T::Vector<S>],
    outputs: &[T],
    inputs: &[T::Vector<S>],
    n_out: usize,
) {
    let whole = n_out / ROWS * ROWS;
    for first in (0..whole).step_by(ROWS) {
        add_rows::<T, S, ROWS, VECTORS>(simd, &mut sums[first * VECTORS..], outputs, inputs, [n_out, first]);
    }
    for first in whole..n_out {
        add_rows::<T, S, 1, VECTORS>(simd, &mut sums[first * VECTORS..], outputs, inputs, [n_out, first]);
    }
}

/// [`add`] for `ROWS` outputs from `first` on.
#[inline(always)]
fn add_rows<T: Vectorised, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [T::Vector<S>],
    outputs: &[T],
    inputs: &[T::Vector<S>],
    [n_out, first]: [usize; 2],
) {
    let mut local = [[sums[0]; VECTORS]; ROWS];
    for row in 0..ROWS {
        local[row].copy_from_slice(&sums[row * VECTORS..][..VECTORS]);
    }
    for (outputs, inputs) in outputs.chunks_exact(n_out).zip(inputs.chunks_exact(VECTORS)) {
        let outputs = &outputs[first..][..ROWS];
        for row in 0..ROWS {
            let value = T::splat(simd, outputs[row]);
            for vector in 0..VECTORS {
                local[row][vector] = T::multiply_add(simd, value, inputs[vector], local[row][vector]);
            }
        }
    }
    for row in 0..ROWS {
        sums[row * VECTORS..][..VECTORS].copy_from_slice(&local[row]);
    }
}

impl<T: Vectorised> Work<'_, T> {
    /// Transforms squares of the input from a channel on: `[place, square, input of the panel]`, places `stride` numbers
    /// apart. Inputs behind the last one stay zero.
    #[inline(always)]
    fn read<S: Simd>(&self, simd: S, squares: &[Square], first: usize, inputs: &mut [T], stride: usize) {
        let (lanes, columns) = (T::lanes_of(simd), self.width.min(self.n_in - first));
        for (index, square) in squares.iter().enumerate() {
            for column in (0..columns).step_by(lanes) {
                let mut read = [T::splat(simd, T::zero()); PLACES];
                for (read, &from) in read.iter_mut().zip(&square.from) {
                    if from != NOTHING {
                        let at = from as usize * self.n_in + first + column;
                        *read = T::vectors(simd, &self.x[at..][..lanes])[0];
                    }
                }
                for (place, &done) in transforms::pixels::<T, S>(simd, read).iter().enumerate() {
                    let at = place * stride + index * self.width + column;
                    T::vectors_mut(simd, &mut inputs[at..][..lanes])[0] = done;
                }
            }
        }
    }

    /// Transforms squares of the gradient: `[place, square, out]`, places `stride` numbers apart.
    #[inline(always)]
    fn spread<S: Simd>(&self, simd: S, squares: &[Square], outputs: &mut [T], stride: usize) {
        let lanes = T::lanes_of(simd);
        for (index, square) in squares.iter().enumerate() {
            let mut pixels = [self.zeros; 4];
            for (pixels, &to) in pixels.iter_mut().zip(&square.to) {
                if to != NOTHING {
                    *pixels = &self.gradient[to as usize * self.n_out..][..self.n_out];
                }
            }
            for channel in (0..self.n_out).step_by(lanes) {
                let mut read = [T::splat(simd, T::zero()); 4];
                for (read, pixels) in read.iter_mut().zip(&pixels) {
                    *read = T::vectors(simd, &pixels[channel..][..lanes])[0];
                }
                for (place, &done) in transforms::gradient::<T, S>(simd, read).iter().enumerate() {
                    let at = place * stride + index * self.n_out + channel;
                    T::vectors_mut(simd, &mut outputs[at..][..lanes])[0] = done;
                }
            }
        }
    }
}

/// The taps of one output for the inputs of one panel, from the sums of all parts.
struct Taps<'a, T> {
    kernel: &'a mut [T],
    output: usize,
    panel: usize,
    sums: &'a [Vec<T>],
    work: &'a Work<'a, T>,
}

impl<T: Vectorised> WithSimd for Taps<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Work { width, n_in, n_out, .. } = *self.work;
        let (lanes, first) = (T::lanes_of(simd), self.panel * width);
        for column in (0..width.min(n_in - first)).step_by(lanes) {
            let mut square = [T::splat(simd, T::zero()); PLACES];
            for sums in self.sums {
                for (place, square) in square.iter_mut().enumerate() {
                    let at = (place * n_out + self.output) * width + column;
                    *square = T::plus(simd, *square, T::vectors(simd, &sums[at..][..lanes])[0]);
                }
            }
            for (tap, &done) in transforms::taps::<T, S>(simd, square).iter().enumerate() {
                T::vectors_mut(simd, &mut self.kernel[tap * n_in + first + column..][..lanes])[0] = done;
            }
        }
    }
}
