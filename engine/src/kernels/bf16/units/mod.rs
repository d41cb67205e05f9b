//! What multiplies blocks: tiles (AMX) or dot products of vectors (AVX512-BF16).

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod softmax;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod strips;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(in super::super) use x86::Unit;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod absent;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(in super::super) use absent::Unit;

use super::blocks::BLOCK;

/// The sums of a block, row by row.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(in super::super) struct Sums([f32; BLOCK * BLOCK]);

impl Default for Sums {
    fn default() -> Self {
        Self([0.; BLOCK * BLOCK])
    }
}

impl Sums {
    /// The rows.
    pub(in super::super) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.0.chunks_exact(BLOCK)
    }
}

/// Queries of a panel of scores: the numbers of a row.
pub(in super::super) const PANEL: usize = 32;

/// The softmax of a panel's queries so far: the largest score, and the sum of the exponentials of scores less it.
#[derive(Debug, Clone)]
pub(in super::super) struct Running {
    pub(in super::super) largest: [f32; PANEL],
    pub(in super::super) sum: [f32; PANEL],
}

impl Default for Running {
    fn default() -> Self {
        Self { largest: [f32::NEG_INFINITY; PANEL], sum: [0.; PANEL] }
    }
}

/// What a softmax follows.
#[derive(Debug)]
pub(in super::super) struct Follow<'a> {
    /// `[key, query]`: minus infinity where a query does not see a key. Keys are even in number.
    pub(in super::super) scores: &'a [f32],
    /// Of scores, to the logarithms to base 2 of their weights; above 0.
    pub(in super::super) factor: f32,
    /// `[row, column]`, with the columns of [`column_of`].
    pub(in super::super) sums: &'a mut [f32],
}

/// What the gradients of a panel's scores are computed from.
#[derive(Debug, Clone)]
pub(in super::super) struct Levels {
    /// Of scores, to the logarithms to base 2 of their weights.
    pub(in super::super) factor: f32,
    /// The logarithm to base 2 of each query's sum.
    pub(in super::super) normaliser: [f32; PANEL],
    /// The sum of each query's result times its gradient.
    pub(in super::super) level: [f32; PANEL],
    /// One over the soft bound of scores, which scores then have been brought under.
    pub(in super::super) share: Option<f32>,
}

/// The column of a query in products with pairs of keys: rows are paired within quarters of vectors, which the fewest instructions do.
pub(in super::super) fn column_of(query: usize) -> usize {
    let (quarter, half, place) = (query / 8, query % 8 / 4, query % 4);
    16 * half + 4 * quarter + place
}
