//! The precision of matrix products.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// The precision of matrix products, convolutions and attention of `f32` on the CPU.
///
/// Weights, activations, gradients, optimisers' moments, norms, softmaxes and all sums stay in `f32` with both: with
/// [`Precision::Bf16`] the operands of a product are rounded to bf16 as it reads them, as PyTorch does with
/// `set_float32_matmul_precision("medium")` and autocast does for its matrix products. Products with fewer than 16 rows, columns or
/// terms, the forward pass of linear layers of up to 128 rows whose weight is `[out, in]`, and attention over a cache (both as in
/// sampling) stay in `f32`. So micro-batches and ranks, which decide how many rows a pass has, agree to bf16's rounding. Of attention
/// over whole sequences the operands of its two products, and of the five of its backward pass, are rounded where the CPU has
/// instructions for bf16, queries, keys, values, weights and the gradients of scores alike; elsewhere it stays in `f32`, which rounding
/// would only make slower. `f64` is never rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// `f32`.
    #[default]
    F32,
    /// bf16, with sums in `f32`.
    Bf16,
}

static OF_PROCESS: AtomicU8 = AtomicU8::new(0);

impl Precision {
    /// That of this process: [`Precision::F32`] unless [`Precision::set`] was called.
    #[must_use]
    pub fn of_process() -> Self {
        if OF_PROCESS.load(Ordering::Relaxed) == 0 { Self::F32 } else { Self::Bf16 }
    }

    /// Makes this the precision of all products of the process from now on.
    ///
    /// It belongs before the first of them: in the middle of a step the backward pass would differ from the forward pass. The recipes
    /// set it by their settings whenever they open a model, and leave it so.
    pub fn set(self) {
        OF_PROCESS.store(u8::from(self == Self::Bf16), Ordering::Relaxed);
    }

    /// The fastest of this CPU: bf16 where it has instructions for it (AMX or AVX512-BF16), `f32` elsewhere.
    #[must_use]
    pub fn fastest() -> Self {
        if crate::kernels::bf16::is_fast() { Self::Bf16 } else { Self::F32 }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}
