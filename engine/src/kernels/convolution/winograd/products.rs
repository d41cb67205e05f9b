//! The forward pass, and the gradient for the input: squares are transformed, multiplied and transformed back in blocks.

use super::super::super::gemm::Shared;
use super::super::super::parallel::zeros;
use super::super::super::vectors::{Vectorised, accumulate};
use super::super::rows::Panels;
use super::super::taps::NOTHING;
use super::tiles::{Square, Tiles};
use super::{PLACES, transforms};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Squares of a block, whose transforms stay in the cache: whole register tiles of both widths.
const BLOCK: usize = 24;
/// Squares per register tile, with the 32 registers of AVX-512 and with the 16 of others.
const WIDE_TILE: usize = 12;
const NARROW_TILE: usize = 4;
/// Numbers between places, so that the same number of all places is not in the same lines of the cache.
const GAP: usize = 16;

/// `[images * near pixels, near channels]` by the panels of a kernel's nine taps.
pub(super) fn products<T: Vectorised>(x: &[T], panels: &Panels<T>, bias: Option<&[T]>, tiles: &Tiles) -> Vec<T> {
    let Panels { width, near, far, .. } = *panels;
    assert_eq!(x.len(), tiles.n_from * far, "images of other sizes");
    let mut start = vec![T::zero(); near];
    if let Some(bias) = bias {
        start.copy_from_slice(bias);
    }
    let (kernels, nothing) = (transformed(panels), vec![T::zero(); far]);
    let work = Work { x, kernels: &kernels, start: &start, zeros: &nothing, width, near, far };
    let mut y = zeros(tiles.n_to * near);
    let result = Shared::new(&mut y);
    // Each pixel of the result is in one square.
    tiles.squares.par_chunks(BLOCK).with_max_len(1).for_each_init(Vec::new, |buffer, squares| {
        Arch::new().dispatch(Piece { y: result, squares, buffer, work: &work });
    });
    y
}

/// The transforms of a kernel, `[panel, place, far channel, near channel of the panel]`.
fn transformed<T: Vectorised>(panels: &Panels<T>) -> Vec<T> {
    let size = panels.far * panels.width;
    let mut kernels = vec![T::zero(); panels.data.len() / 9 * PLACES];
    let of_panel = kernels.par_chunks_exact_mut(PLACES * size).zip(panels.data.par_chunks_exact(9 * size));
    of_panel.for_each(|(kernel, taps)| Arch::new().dispatch(Kernel { kernel, taps }));
    kernels
}

/// One panel of a kernel: its taps, and what is made of them.
struct Kernel<'a, T> {
    kernel: &'a mut [T],
    taps: &'a [T],
}

impl<T: Vectorised> WithSimd for Kernel<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (kernel, taps) = (T::vectors_mut(simd, self.kernel), T::vectors(simd, self.taps));
        let size = taps.len() / 9;
        for index in 0..size {
            let mut of_taps = [taps[index]; 9];
            for tap in 1..9 {
                of_taps[tap] = taps[tap * size + index];
            }
            let square = transforms::kernel::<T, S>(simd, of_taps);
            for place in 0..PLACES {
                kernel[place * size + index] = square[place];
            }
        }
    }
}

struct Work<'a, T> {
    x: &'a [T],
    kernels: &'a [T],
    /// The initial value of the sums: the bias.
    start: &'a [T],
    zeros: &'a [T],
    width: usize,
    near: usize,
    far: usize,
}

/// Some squares of the result.
///
/// # Safety invariants
///
/// While it lives no other reference accesses the pixels of `y` that its squares make, each of which is in one of them.
struct Piece<'a, T> {
    y: Shared<'a, T>,
    squares: &'a [Square],
    buffer: &'a mut Vec<T>,
    work: &'a Work<'a, T>,
}

impl<T: Vectorised> WithSimd for Piece<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        by_registers!(self, simd, self.work.width);
    }
}

impl<T: Vectorised> Piece<'_, T> {
    #[inline(always)]
    fn compute<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let Self { y, squares, buffer, work } = self;
        let Work { width, near, far, .. } = *work;
        let (of_squares, of_products) = (BLOCK * far + GAP, BLOCK * width + GAP);
        buffer.resize(PLACES * (of_squares + of_products), T::zero());
        let (transforms, products) = buffer.split_at_mut(PLACES * of_squares);
        work.transform(simd, squares, transforms, of_squares);
        for (panel, kernel) in work.kernels.chunks_exact(PLACES * far * width).enumerate() {
            for (place, kernel) in kernel.chunks_exact(far * width).enumerate() {
                let rows = &transforms[place * of_squares..][..BLOCK * far];
                let products = &mut products[place * of_products..][..BLOCK * width];
                multiply::<T, S, ROWS, VECTORS>(simd, rows, far, T::vectors(simd, kernel), products, squares.len());
            }
            let first = panel * width;
            for column in (first..near.min(first + width)).step_by(T::lanes_of(simd)) {
                // SAFETY: by the invariant of `Piece`.
                #[expect(unsafe_code, reason = "writes pixels of a buffer that other threads write other pixels of")]
                unsafe {
                    work.finish(simd, y, squares, &products[column - first..], of_products, column);
                }
            }
        }
    }
}

/// `products[square, near channel of the panel]`: rows of far channels times a place's kernel.
#[inline(always)]
fn multiply<T: Vectorised, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    rows: &[T],
    far: usize,
    kernel: &[T::Vector<S>],
    products: &mut [T],
    n: usize,
) {
    let products = T::vectors_mut(simd, products);
    for first in (0..n).step_by(ROWS) {
        // Rows behind the last square have numbers of earlier blocks, and their products are left.
        let mut inputs = [&rows[..far]; ROWS];
        for row in 0..ROWS {
            inputs[row] = &rows[(first + row) * far..][..far];
        }
        let mut sums = [[T::splat(simd, T::zero()); VECTORS]; ROWS];
        accumulate::<T, S, ROWS, VECTORS>(simd, &mut sums, inputs, kernel);
        for row in 0..ROWS {
            products[(first + row) * VECTORS..][..VECTORS].copy_from_slice(&sums[row]);
        }
    }
}

impl<T: Vectorised> Work<'_, T> {
    /// Transforms squares of pixels: `[place, square, far channel]`, places `stride` numbers apart.
    #[inline(always)]
    fn transform<S: Simd>(&self, simd: S, squares: &[Square], transforms: &mut [T], stride: usize) {
        let (lanes, far) = (T::lanes_of(simd), self.far);
        for (index, square) in squares.iter().enumerate() {
            let mut pixels = [self.zeros; PLACES];
            for (pixels, &from) in pixels.iter_mut().zip(&square.from) {
                if from != NOTHING {
                    *pixels = &self.x[from as usize * far..][..far];
                }
            }
            for channel in (0..far).step_by(lanes) {
                let mut read = [T::splat(simd, T::zero()); PLACES];
                for (read, pixels) in read.iter_mut().zip(&pixels) {
                    *read = T::vectors(simd, &pixels[channel..][..lanes])[0];
                }
                let at = index * far + channel;
                for (place, &done) in transforms::pixels::<T, S>(simd, read).iter().enumerate() {
                    T::vectors_mut(simd, &mut transforms[place * stride + at..][..lanes])[0] = done;
                }
            }
        }
    }

    /// Transforms products back, places `stride` numbers apart, and writes a vector of near channels of each pixel.
    ///
    /// # Safety
    ///
    /// No other reference may access the squares' pixels of `y` during the call.
    #[inline(always)]
    #[expect(unsafe_code, reason = "writes pixels of a buffer that other threads write other pixels of")]
    unsafe fn finish<S: Simd>(
        &self,
        simd: S,
        y: Shared<'_, T>,
        squares: &[Square],
        products: &[T],
        stride: usize,
        column: usize,
    ) {
        let lanes = T::lanes_of(simd);
        let start = T::vectors(simd, &self.start[column..][..lanes])[0];
        for (index, square) in squares.iter().enumerate() {
            let mut read = [start; PLACES];
            for (place, read) in read.iter_mut().enumerate() {
                *read = T::vectors(simd, &products[place * stride + index * self.width..][..lanes])[0];
            }
            for (&made, &to) in transforms::result::<T, S>(simd, read).iter().zip(&square.to) {
                if to != NOTHING {
                    // SAFETY: passed on to the caller, and there is one slice at a time.
                    let y = unsafe { y.slice(to as usize * self.near + column, lanes) };
                    T::vectors_mut(simd, y)[0] = T::plus(simd, made, start);
                }
            }
        }
    }
}
