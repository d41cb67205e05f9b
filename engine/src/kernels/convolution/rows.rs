//! For each pixel the sum over taps of the far pixel's row times the tap's matrix: the forward pass, and the gradient
//! for the input.

use super::super::gemm::Shared;
use super::super::parallel::zeros;
use super::super::vectors::{Vectorised, accumulate};
use super::panel_width;
use super::taps::{NOTHING, Reach, Sizes};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Pixels per register tile, with the 32 registers of AVX-512 and with the 16 of others.
const WIDE_TILE: usize = 12;
const NARROW_TILE: usize = 4;
/// Below this many far channels the pixels under the taps are gathered: single products would be too short.
const FEW: usize = 16;

/// The taps' matrices in the order of use: `[panel, tap, far channel, near channel of the panel]`.
#[derive(Debug)]
pub(super) struct Panels<T> {
    pub(super) data: Vec<T>,
    /// Near channels of a panel; the last one is zero-padded.
    pub(super) width: usize,
    /// The number of near channels.
    pub(super) near: usize,
    /// The number of far channels.
    pub(super) far: usize,
}

impl<T: Vectorised> Panels<T> {
    /// From `[out, taps, in]`, with outputs near.
    pub(super) fn by_output(weight: &[T], sizes: &Sizes) -> Self {
        /// Numbers of a row copied at a time: a cache line or two.
        const RUN: usize = 16;
        let depth = sizes.taps() * sizes.n_in;
        Self::fill(sizes, sizes.n_out, sizes.n_in, |panel, first, width| {
            for start in (0..depth).step_by(RUN) {
                let run = RUN.min(depth - start);
                let panel = &mut panel[start * width..][..run * width];
                for (column, row) in weight[first * depth..].chunks_exact(depth).take(width).enumerate() {
                    for (index, &value) in row[start..][..run].iter().enumerate() {
                        panel[index * width + column] = value;
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
    let n_panels = panels.near.div_ceil(panels.width);
    assert_eq!(panels.data.len(), n_panels * reach.taps * panels.far * panels.width, "panels of another kernel");
    let mut y = zeros(n_rows * panels.near);
    let mut start = vec![T::zero(); panels.near.next_multiple_of(panels.width)];
    if let Some(bias) = bias {
        start[..bias.len()].copy_from_slice(bias);
    }
    let zeros = vec![T::zero(); panels.far];
    let work = Work { x, panels, start: &start, reach, zeros: &zeros };
    // Many pieces for load balance; large ones, so that a panel is reused for many pixels.
    let rows = (n_rows / 32).next_multiple_of(2 * WIDE_TILE).clamp(2 * WIDE_TILE, 16 * WIDE_TILE);
    let y_rows = Shared::new(&mut y);
    // By the invariants of `Reach` each row is in one piece.
    reach.order(images).par_chunks(rows).with_max_len(1).for_each(|rows| {
        Arch::new().dispatch(Piece { y: y_rows, rows, work: &work });
    });
    y
}

struct Work<'a, T> {
    x: &'a [T],
    panels: &'a Panels<T>,
    /// The initial value of the sums: the bias, padded like the panels.
    start: &'a [T],
    reach: &'a Reach,
    zeros: &'a [T],
}

/// Some rows of the result.
///
/// # Safety invariants
///
/// While it lives no other reference accesses these rows of `y`, and `rows` has no duplicates.
struct Piece<'a, T> {
    y: Shared<'a, T>,
    rows: &'a [u32],
    work: &'a Work<'a, T>,
}

/// A few rows of the result, and the taps in range, each with the input rows under it.
struct Tile<'a, const ROWS: usize> {
    rows: &'a [u32],
    taps: Vec<(usize, [u32; ROWS])>,
}

impl<T: Vectorised> WithSimd for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        by_registers!(self, simd, self.work.panels.width);
    }
}

impl<T: Vectorised> Piece<'_, T> {
    #[inline(always)]
    #[expect(unsafe_code, reason = "writes rows of a buffer that other threads write other rows of")]
    fn compute<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let Panels { data, width, near, far } = self.work.panels;
        let tiles: Vec<Tile<'_, ROWS>> = self.rows.chunks(ROWS).map(|rows| self.work.tile(rows)).collect();
        let size = self.work.reach.taps * far * width;
        let mut scratch = vec![T::zero(); if *far < FEW { size / width * ROWS } else { 0 }];
        for (panel, weights) in data.chunks_exact(size).enumerate() {
            let weights = T::vectors(simd, weights);
            let start = T::vectors(simd, &self.work.start[panel * width..][..*width]);
            let columns = *width.min(&(near - panel * width));
            for tile in &tiles {
                let sums = self.work.sums::<S, ROWS, VECTORS>(simd, weights, start, tile, &mut scratch);
                for (&row, sums) in tile.rows.iter().zip(&sums) {
                    // SAFETY: only this piece has the row, and this reference is dropped before the next is made.
                    let y = unsafe { self.y.slice(row as usize * near + panel * width, columns) };
                    store::<T, S, VECTORS>(simd, y, sums);
                }
            }
        }
    }
}

/// Stores vectors, the last ones partially if `y` is shorter.
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
    fn tile<'a, const ROWS: usize>(&self, rows: &'a [u32]) -> Tile<'a, ROWS> {
        let Reach { taps, near, far, pixels, .. } = self.reach;
        let mut reached = vec![[NOTHING; ROWS]; *taps];
        for (index, &row) in rows.iter().enumerate() {
            let (image, pixel) = (row as usize / near, row as usize % near);
            for (reached, &pixel) in reached.iter_mut().zip(&pixels[pixel * taps..][..*taps]) {
                if pixel != NOTHING {
                    reached[index] = (image * far) as u32 + pixel;
                }
            }
        }
        let taps = reached.into_iter().enumerate().filter(|(_, rows)| rows.iter().any(|&row| row != NOTHING));
        Tile { rows, taps: taps.collect() }
    }

    /// The sums of a tile in one panel.
    #[inline(always)]
    fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        weights: &[T::Vector<S>],
        start: &[T::Vector<S>],
        tile: &Tile<'_, ROWS>,
        scratch: &mut [T],
    ) -> [[T::Vector<S>; VECTORS]; ROWS] {
        let channels = self.panels.far;
        let mut sums = [[start[0]; VECTORS]; ROWS];
        for sums in &mut sums {
            sums.copy_from_slice(&start[..VECTORS]);
        }
        let mut inputs = [self.zeros; ROWS];
        if channels < FEW {
            self.gather(tile, scratch);
            for (input, gathered) in inputs.iter_mut().zip(scratch.chunks_exact(self.reach.taps * channels)) {
                *input = gathered;
            }
            accumulate::<T, S, ROWS, VECTORS>(simd, &mut sums, inputs, weights);
            return sums;
        }
        for (tap, rows) in &tile.taps {
            for (input, &row) in inputs.iter_mut().zip(rows) {
                *input = self.input(row);
            }
            let weights = &weights[tap * channels * VECTORS..][..channels * VECTORS];
            accumulate::<T, S, ROWS, VECTORS>(simd, &mut sums, inputs, weights);
        }
        sums
    }

    /// Gathers the pixels under the taps of a tile: a row for each of its rows.
    fn gather<const ROWS: usize>(&self, tile: &Tile<'_, ROWS>, scratch: &mut [T]) {
        let channels = self.panels.far;
        scratch.fill(T::zero());
        for (index, gathered) in scratch.chunks_exact_mut(self.reach.taps * channels).enumerate() {
            for (tap, rows) in &tile.taps {
                gathered[tap * channels..][..channels].copy_from_slice(self.input(rows[index]));
            }
        }
    }

    #[inline(always)]
    fn input(&self, row: u32) -> &[T] {
        if row == NOTHING { self.zeros } else { &self.x[row as usize * self.panels.far..][..self.panels.far] }
    }
}
