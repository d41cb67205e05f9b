//! The gradient for the kernel: for each tap a sum over pairs of input and output pixels.

use super::super::vectors::Vectorised;
use super::panel_width;
use super::taps::Sizes;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Outputs per register tile, with the 32 registers of AVX-512 and with the 16 of others. Five of the wide tiles hold
/// 64 outputs and waste one.
const WIDE_TILE: usize = 13;
const NARROW_TILE: usize = 4;
/// Pixels per block, whose rows stay in the cache for all outputs.
const PIXELS: usize = 512;

/// `[out, taps, in]` from `x` `[rows, in]` and the gradient `[rows, out]`.
///
/// Each number is one sum in pixel order, so the result does not depend on the number of threads.
pub(super) fn gradient<T: Vectorised>(x: &[T], gradient: &[T], sizes: &Sizes) -> Vec<T> {
    let tile = if T::lanes() * size_of::<T>() >= 64 { WIDE_TILE } else { NARROW_TILE };
    let width = panel_width::<T>(sizes.n_in);
    let panels = strips(x, sizes.n_in, width);
    let tiles = strips(gradient, sizes.n_out, tile);
    let meetings = sizes.meetings();
    let n_panels = sizes.n_in.div_ceil(width);
    let work = Work { panels: &panels, tiles: &tiles, width, sizes };
    let parts: Vec<Vec<T>> = (0..n_panels * meetings.len())
        .into_par_iter()
        .with_max_len(1)
        .map(|part| {
            let (panel, tap) = (part / meetings.len(), part % meetings.len());
            Arch::new().dispatch(TapPanel { panel, meetings: &meetings[tap], work: &work })
        })
        .collect();
    let mut result = vec![T::zero(); sizes.n_out * meetings.len() * sizes.n_in];
    result.par_chunks_exact_mut(meetings.len() * sizes.n_in).enumerate().for_each(|(output, rows)| {
        for (tap, row) in rows.chunks_exact_mut(sizes.n_in).enumerate() {
            for (panel, row) in row.chunks_mut(width).enumerate() {
                row.copy_from_slice(&parts[panel * meetings.len() + tap][output * width..][..row.len()]);
            }
        }
    });
    result
}

/// `[strip, row, column of the strip]` of `[row, column]`, the last strip zero-padded.
fn strips<T: Vectorised>(matrix: &[T], columns: usize, width: usize) -> Vec<T> {
    let rows = matrix.len() / columns;
    let mut result = vec![T::zero(); columns.div_ceil(width) * rows * width];
    result.par_chunks_exact_mut((rows * width).max(1)).enumerate().for_each(|(strip, result)| {
        let first = strip * width;
        let some = width.min(columns - first);
        for (to, from) in result.chunks_exact_mut(width).zip(matrix.chunks_exact(columns)) {
            to[..some].copy_from_slice(&from[first..][..some]);
        }
    });
    result
}

struct Work<'a, T> {
    panels: &'a [T],
    tiles: &'a [T],
    width: usize,
    sizes: &'a Sizes,
}

/// One tap, for the inputs of one panel.
struct TapPanel<'a, T> {
    panel: usize,
    meetings: &'a [(u32, u32)],
    work: &'a Work<'a, T>,
}

impl<T: Vectorised> WithSimd for TapPanel<'_, T> {
    /// `[out (filled up to whole tiles), width]`.
    type Output = Vec<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
        by_registers!(self, simd, self.work.width)
    }
}

impl<T: Vectorised> TapPanel<'_, T> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) -> Vec<T> {
        let Work { sizes, panels, tiles, width } = self.work;
        let (near, far) = (sizes.output.iter().product::<usize>(), sizes.input.iter().product::<usize>());
        let x = T::vectors(simd, &panels[self.panel * sizes.images * far * width..][..sizes.images * far * width]);
        let n_tiles = sizes.n_out.div_ceil(ROWS);
        let mut result = vec![T::zero(); n_tiles * ROWS * width];
        // Small images are processed together, large ones in parts.
        let together = (PIXELS / self.meetings.len().max(1)).max(1);
        for first in (0..sizes.images).step_by(together) {
            for meetings in self.meetings.chunks(PIXELS) {
                let strips = tiles.chunks_exact(sizes.images * near * ROWS);
                for (strip, result) in strips.zip(result.chunks_exact_mut(ROWS * width)) {
                    let result = T::vectors_mut(simd, result);
                    let mut sums = load::<T, S, ROWS, VECTORS>(result);
                    for image in first..sizes.images.min(first + together) {
                        let gradient = &strip[image * near * ROWS..][..near * ROWS];
                        let x = &x[image * far * VECTORS..][..far * VECTORS];
                        accumulate::<T, S, ROWS, VECTORS>(simd, &mut sums, meetings, gradient, x);
                    }
                    for (result, sums) in result.chunks_exact_mut(VECTORS).zip(&sums) {
                        result.copy_from_slice(sums);
                    }
                }
            }
        }
        result
    }
}

#[inline(always)]
fn load<T: Vectorised, S: Simd, const ROWS: usize, const VECTORS: usize>(
    from: &[T::Vector<S>],
) -> [[T::Vector<S>; VECTORS]; ROWS] {
    let mut sums = [[from[0]; VECTORS]; ROWS];
    for (sums, from) in sums.iter_mut().zip(from.chunks_exact(VECTORS)) {
        sums.copy_from_slice(from);
    }
    sums
}

/// Adds gradient times input over pairs of pixels.
#[inline(always)]
fn accumulate<T: Vectorised, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[T::Vector<S>; VECTORS]; ROWS],
    meetings: &[(u32, u32)],
    gradient: &[T],
    x: &[T::Vector<S>],
) {
    let mut local = *sums;
    for &(near, far) in meetings {
        let gradient = &gradient[near as usize * ROWS..][..ROWS];
        let x = &x[far as usize * VECTORS..][..VECTORS];
        for row in 0..ROWS {
            let value = T::splat(simd, gradient[row]);
            for vector in 0..VECTORS {
                local[row][vector] = T::multiply_add(simd, value, x[vector], local[row][vector]);
            }
        }
    }
    *sums = local;
}
