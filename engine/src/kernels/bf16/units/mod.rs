//! What multiplies blocks: tiles (AMX) or dot products of vectors (AVX512-BF16).

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
