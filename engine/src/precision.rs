//! The precision of matrix products.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, Ordering};

use candle_core::{DType, Device, Tensor};

use crate::EngineError;

/// The precision of matrix products, convolutions and attention of `f32`.
///
/// Weights, activations, gradients, optimisers' moments, norms, softmaxes and all sums stay in `f32` with both: with
/// [`Precision::Bf16`] the operands of a product are rounded to bf16 as it reads them, as PyTorch does with
/// `set_float32_matmul_precision("medium")` and autocast does for its matrix products; on devices other than the CPU its result is rounded
/// too, as autocast's. Products with fewer than 16 rows, columns or terms, the forward pass of linear layers of up to 128 rows whose weight is
/// `[out, in]`, and attention over a cache (both as in sampling) stay in `f32` everywhere. So micro-batches and ranks, which decide how many
/// rows a pass has, agree to bf16's rounding. Of attention over whole sequences the operands of its two products, and of the five of its
/// backward pass, are rounded on CPUs that have instructions for bf16, queries, keys, values, weights and the gradients of scores alike;
/// elsewhere it stays in `f32`. `f64` is never rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// `f32`.
    #[default]
    F32,
    /// bf16, with sums in `f32`.
    Bf16,
}

static OF_PROCESS: AtomicU8 = AtomicU8::new(0);

thread_local! {
    /// What this thread computes in, where that is not the process's.
    static OF_THREAD: Cell<Option<Precision>> = const { Cell::new(None) };
}

impl Precision {
    /// That of this process: [`Precision::F32`] unless [`Precision::set`] was called; or this thread's, within [`WithPrecision`].
    #[must_use]
    pub fn of_process() -> Self {
        let of_process = || if OF_PROCESS.load(Ordering::Relaxed) == 0 { Self::F32 } else { Self::Bf16 };
        OF_THREAD.get().unwrap_or_else(of_process)
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

    /// Tries a small product in this precision on a device.
    ///
    /// # Errors
    /// The device does not multiply bf16, as GPUs before compute capability 8.0 do not; it is out of memory.
    ///
    /// # Examples
    /// ```
    /// assert!(engine::Precision::Bf16.check(&candle_core::Device::Cpu).is_ok());
    /// ```
    pub fn check(self, device: &Device) -> Result<(), EngineError> {
        if self == Self::F32 {
            return Ok(());
        }
        let product = || {
            let x = Tensor::ones((16, 16), DType::F32, device)?.to_dtype(DType::BF16)?;
            x.matmul(&x)?.to_dtype(DType::F32)
        };
        product().map(drop).map_err(|source| EngineError::NoBf16 { source })
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

/// Computes in a precision until it is dropped, on this thread, whatever the process's.
///
/// It is for tests, which compare both precisions beside others that are to have the process's.
///
/// ```
/// use engine::{Precision, WithPrecision};
///
/// let guard = WithPrecision::begin(Precision::Bf16);
/// assert_eq!(Precision::of_process(), Precision::Bf16);
/// drop(guard);
/// assert_eq!(Precision::of_process(), Precision::F32);
/// ```
#[derive(Debug)]
#[must_use = "it ends where it is dropped"]
pub struct WithPrecision {
    before: Option<Precision>,
    /// A guard is dropped on the thread that it is for.
    stays: PhantomData<*const ()>,
}

impl WithPrecision {
    /// Begins to compute in a precision. Guards are dropped in the reverse order.
    pub fn begin(precision: Precision) -> Self {
        Self { before: OF_THREAD.replace(Some(precision)), stays: PhantomData }
    }
}

impl Drop for WithPrecision {
    fn drop(&mut self) {
        OF_THREAD.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_for_its_own_thread_while_it_lives() {
        let outer = WithPrecision::begin(Precision::Bf16);
        drop(WithPrecision::begin(Precision::F32));
        assert_eq!(Precision::of_process(), Precision::Bf16);
        assert_eq!(std::thread::spawn(Precision::of_process).join().unwrap(), Precision::F32);
        drop(outer);
        assert_eq!(Precision::of_process(), Precision::F32);
    }
}
