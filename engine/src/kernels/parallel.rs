//! Threads and vector instructions.

use rayon::prelude::*;

/// Elements per piece: large against the scheduling overhead, small against a cache.
pub(super) const PIECE: usize = 16 * 1024;

/// Runs `f` compiled for the widest vector instructions of this CPU.
#[inline(always)]
pub(super) fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Calls `f(first row, rows)` on blocks of whole rows of `data`, in parallel.
pub(super) fn for_row_pieces<T: Send>(data: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let rows = (PIECE / width.max(1)).max(1);
    if data.len() <= rows * width {
        return f(0, data);
    }
    data.par_chunks_mut(rows * width).enumerate().for_each(|(piece, chunk)| f(piece * rows, chunk));
}
