//! For each pixel the sum over taps of the far pixel's row times the tap's matrix: the way forward, and the way back to
//! the input.

use super::super::vectors::Vectorised;
use super::panel_width;
use super::reach::{NOTHING, Reach, Sizes};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Pixels whose sums are in registers together, with the 32 registers of AVX-512 and with the 16 of others.
const WIDE_TILE: usize = 12;
const NARROW_TILE: usize = 4;
/// With fewer far channels than this, what the taps reach is copied together: their products alone would be too short.
const FEW: usize = 16;

/// The taps' matrices in the order of use: `[panel, tap, far channel, near channel of the panel]`.
#[derive(Debug)]
pub(super) struct Panels<T> {
    data: Vec<T>,
    /// Near channels of a panel; the last one is filled up with zeros.
    width: usize,
    /// The number of near channels.
    near: usize,
    /// The number of far channels.
    far: usize,
}

impl<T: Vectorised> Panels<T> {
    /// From `[out, taps, in]`, with outputs near.
    pub(super) fn by_output(weight: &[T], sizes: &Sizes) -> Self {
        /// Numbers of one row that are taken at a time: a cache line or two.
        const RUN: usize = 16;
        let depth = sizes.taps() * sizes.n_in;
        Self::fill(sizes, sizes.n_out, sizes.n_in, |panel, first, width| {
            for start in (0..depth).step_by(RUN) {
                let run = RUN.min(depth - start);
                for (column, row) in weight[first * depth..].chunks_exact(depth).take(width).enumerate() {
                    let places = panel[start * width..].iter_mut().skip(column).step_by(width);
                    for (place, &value) in places.zip(&row[start..][..run]) {
                        *place = value;
                    }
                }
            }
        })
    }

    /// From `[out, taps, in]`, with inputs near.
    pub(super) fn by_input(weight: &[T], sizes: &Sizes) -> Self {
        let (taps, n_in, n_out) = (sizes.taps(), sizes.n_in, sizes.n_out);
        Self::fill(sizes, n_in, n_out, |panel, first, width| {
            let columns = width.min(n_in - first);
            for (place, row) in panel.chunks_exact_mut(width).enumerate() {
                let (tap, output) = (place / n_out, place % n_out);
                row[..columns].copy_from_slice(&weight[(output * taps + tap) * n_in + first..][..columns]);
            }
        })
    }

    /// Calls `f(panel, first near channel, width)`, in parallel.
    fn fill(sizes: &Sizes, near: usize, far: usize, f: impl Fn(&mut [T], usize, usize) + Sync) -> Self {
        let width = panel_width::<T>(near);
        let size = sizes.taps() * far * width;
        let mut data = vec![T::zero(); near.div_ceil(width) * size];
        data.par_chunks_exact_mut(size).enumerate().for_each(|(panel, data)| f(data, panel * width, width));
        Self { data, width, near, far }
    }
}

/// `[images * near pixels, near channels]`.
pub(super) fn products<T: Vectorised>(
    x: &[T],
    panels: &Panels<T>,
    bias: Option<&[T]>,
    reach: &Reach,
    images: usize,
) -> Vec<T> {
    let n_rows = images * reach.near;
    let mut y = vec![T::zero(); n_rows * panels.near];
    let mut start = vec![T::zero(); panels.near.next_multiple_of(panels.width)];
    if let Some(bias) = bias {
        start[..bias.len()].copy_from_slice(bias);
    }
    let zeros = vec![T::zero(); panels.far];
    let work = Work { x, panels, start: &start, reach, zeros: &zeros };
    // Many pieces, so that no thread waits long for another; large ones, so that a panel is read for many pixels.
    let rows = (n_rows / 32).next_multiple_of(2 * WIDE_TILE).clamp(2 * WIDE_TILE, 16 * WIDE_TILE);
    y.par_chunks_mut(rows * panels.near).with_max_len(1).enumerate().for_each(|(piece, y)| {
        Arch::new().dispatch(Piece { y, first: piece * rows, work: &work });
    });
    y
}

struct Work<'a, T> {
    x: &'a [T],
    panels: &'a Panels<T>,
    /// What sums start from: the bias, filled up like the panels.
    start: &'a [T],
    reach: &'a Reach,
    zeros: &'a [T],
}

/// Some rows of the result, and which is the first.
struct Piece<'a, T> {
    y: &'a mut [T],
    first: usize,
    work: &'a Work<'a, T>,
}

impl<T: Vectorised> WithSimd for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes_of(simd);
        match (lanes * size_of::<T>() >= 64, self.work.panels.width > lanes) {
            (true, true) => self.compute::<S, WIDE_TILE, 2>(simd),
            (true, false) => self.compute::<S, WIDE_TILE, 1>(simd),
            (false, true) => self.compute::<S, NARROW_TILE, 2>(simd),
            (false, false) => self.compute::<S, NARROW_TILE, 1>(simd),
        }
    }
}

impl<T: Vectorised> Piece<'_, T> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let Panels { data, width, near, far } = self.work.panels;
        let mut order: Vec<usize> = (0..self.y.len() / near).collect();
        if let Some(classes) = &self.work.reach.classes {
            order.sort_by_key(|row| classes[(self.first + row) % self.work.reach.near]);
        }
        let size = self.work.reach.taps * far * width;
        let mut scratch = vec![T::zero(); if *far < FEW { size / width * ROWS } else { 0 }];
        for (panel, weights) in data.chunks_exact(size).enumerate() {
            let weights = T::vectors(simd, weights);
            let start = T::vectors(simd, &self.work.start[panel * width..][..*width]);
            let columns = *width.min(&(near - panel * width));
            for rows in order.chunks(ROWS) {
                let sums = self.work.tile::<S, ROWS, VECTORS>(simd, weights, start, self.first, rows, &mut scratch);
                for (row, sums) in rows.iter().zip(&sums) {
                    let y = &mut self.y[row * near + panel * width..][..columns];
                    store::<T, S, VECTORS>(simd, y, sums);
                }
            }
        }
    }
}

/// Writes vectors, the last ones in part if `y` is shorter than they are.
#[inline(always)]
fn store<T: Vectorised, S: Simd, const VECTORS: usize>(simd: S, y: &mut [T], sums: &[T::Vector<S>; VECTORS]) {
    let lanes = T::lanes_of(simd);
    if y.len() == VECTORS * lanes {
        T::vectors_mut(simd, y)[..VECTORS].copy_from_slice(sums);
        return;
    }
    let mut whole = [T::zero(); 64];
    T::vectors_mut(simd, &mut whole)[..VECTORS].copy_from_slice(sums);
    y.copy_from_slice(&whole[..y.len()]);
}

impl<T: Vectorised> Work<'_, T> {
    /// The sums of some rows of the result in one panel.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        weights: &[T::Vector<S>],
        start: &[T::Vector<S>],
        first: usize,
        rows: &[usize],
        scratch: &mut [T],
    ) -> [[T::Vector<S>; VECTORS]; ROWS] {
        let (near, far, channels) = (self.reach.near, self.reach.far, self.panels.far);
        let mut sums = [[start[0]; VECTORS]; ROWS];
        for sums in &mut sums {
            sums.copy_from_slice(&start[..VECTORS]);
        }
        // By row: what its taps reach, and where the far image starts.
        let mut reached: [(&[u32], usize); ROWS] = [(&[], 0); ROWS];
        for (reached, row) in reached.iter_mut().zip(rows) {
            let (image, pixel) = ((first + row) / near, (first + row) % near);
            *reached = (&self.reach.pixels[pixel * self.reach.taps..][..self.reach.taps], image * far);
        }
        if channels < FEW {
            self.gather(&reached, scratch);
            let mut inputs = [&scratch[..0]; ROWS];
            for (input, gathered) in inputs.iter_mut().zip(scratch.chunks_exact(self.reach.taps * channels)) {
                *input = gathered;
            }
            accumulate::<T, S, ROWS, VECTORS>(simd, &mut sums, inputs, weights);
            return sums;
        }
        for (tap, weights) in weights.chunks_exact(channels * VECTORS).enumerate() {
            let mut inputs = [self.zeros; ROWS];
            let mut any = false;
            for (input, &(pixels, image)) in inputs.iter_mut().zip(&reached) {
                let pixel = pixels.get(tap).copied().unwrap_or(NOTHING);
                if pixel != NOTHING {
                    *input = &self.x[(image + pixel as usize) * channels..][..channels];
                    any = true;
                }
            }
            if any {
                accumulate::<T, S, ROWS, VECTORS>(simd, &mut sums, inputs, weights);
            }
        }
        sums
    }

    /// What all taps of some rows reach, one row after the other.
    fn gather(&self, reached: &[(&[u32], usize)], scratch: &mut [T]) {
        let channels = self.panels.far;
        for (gathered, &(pixels, image)) in scratch.chunks_exact_mut(self.reach.taps * channels).zip(reached) {
            for (input, &pixel) in gathered.chunks_exact_mut(channels).zip(pixels) {
                if pixel == NOTHING {
                    input.fill(T::zero());
                } else {
                    input.copy_from_slice(&self.x[(image + pixel as usize) * channels..][..channels]);
                }
            }
        }
    }
}

/// Adds the product of rows with one tap's matrix.
#[inline(always)]
#[expect(unsafe_code, reason = "the compiler keeps the checks of all rows in the innermost loop: a tenth of the time")]
fn accumulate<T: Vectorised, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[T::Vector<S>; VECTORS]; ROWS],
    inputs: [&[T]; ROWS],
    weights: &[T::Vector<S>],
) {
    let channels = weights.len() / VECTORS;
    assert!(inputs.iter().all(|input| input.len() == channels), "a row of another width");
    let mut local = *sums;
    for (channel, weights) in (0..channels).zip(weights.chunks_exact(VECTORS)) {
        for row in 0..ROWS {
            // SAFETY: `channel` is below the length that every row was checked to have.
            let value = T::splat(simd, unsafe { *inputs[row].get_unchecked(channel) });
            for vector in 0..VECTORS {
                local[row][vector] = T::multiply_add(simd, value, weights[vector], local[row][vector]);
            }
        }
    }
    *sums = local;
}
