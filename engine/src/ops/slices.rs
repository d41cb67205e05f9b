//! Conversion between tensors and slices.

use crate::device::has_kernels;
use crate::kernels::Real;
use candle_core::{CpuStorage, DType, Layout, Result, Storage, StorageRef, Tensor, bail};
use std::marker::PhantomData;
use std::ops::Deref;

/// The number type that the fused kernels use for these tensors; `None` selects the composed form.
pub(super) fn fused_dtype(tensors: &[&Tensor]) -> Option<DType> {
    let dtype = tensors.first()?.dtype();
    let fits = |t: &&Tensor| has_kernels(t.device()) && t.dtype() == dtype;
    (matches!(dtype, DType::F32 | DType::F64) && tensors.iter().all(fits)).then_some(dtype)
}

/// Evaluates `$fused` with `$T` the number type of the tensors, or `$composed` if no kernel supports them.
macro_rules! fused_or {
    ($tensors:expr, $T:ident => $fused:expr, $composed:expr) => {
        match $crate::ops::slices::fused_dtype($tensors) {
            Some(candle_core::DType::F32) => {
                type $T = f32;
                $fused
            }
            Some(_) => {
                type $T = f64;
                $fused
            }
            None => $composed,
        }
    };
}
pub(super) use fused_or;

/// The numbers of an op's argument as a slice.
///
/// # Errors
///
/// The argument is not contiguous.
pub(super) fn slice<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => match storage.as_slice::<T>()?.get(start..end) {
            Some(numbers) => Ok(numbers),
            None => bail!("a fused kernel got a tensor of shape {:?} whose numbers were taken", layout.shape()),
        },
        None => bail!("a fused kernel got a strided tensor of shape {:?}", layout.shape()),
    }
}

/// A read guard on the elements of a tensor.
pub(super) struct ReadGuard<'a, T> {
    storage: StorageRef<'a>,
    range: (usize, usize),
    number: PhantomData<T>,
}

impl<T: Real> ReadGuard<'_, T> {
    /// Whether the numbers of a range are there.
    fn has(storage: &Storage, (_, end): (usize, usize)) -> bool {
        matches!(storage, Storage::Cpu(storage) if storage.as_slice::<T>().is_ok_and(|numbers| numbers.len() >= end))
    }
}

impl<T: Real> Deref for ReadGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.storage {
            // The type was checked when the lock was taken.
            Storage::Cpu(storage) => &storage.as_slice::<T>().unwrap_or_default()[self.range.0..self.range.1],
            _ => &[],
        }
    }
}

/// The numbers of a contiguous CPU tensor.
pub(super) fn read<T: Real>(tensor: &Tensor) -> Result<ReadGuard<'_, T>> {
    let (storage, layout) = tensor.storage_and_layout();
    if tensor.dtype() != T::DTYPE || !matches!(*storage, Storage::Cpu(_)) {
        bail!("a fused kernel got a tensor of {:?} on {:?}", tensor.dtype(), tensor.device());
    }
    match layout.contiguous_offsets() {
        Some(range) if ReadGuard::<T>::has(&storage, range) => Ok(ReadGuard { storage, range, number: PhantomData }),
        Some(_) => bail!("a fused kernel got a tensor of shape {:?} whose numbers were taken", tensor.dims()),
        None => bail!("a fused kernel got a strided tensor of shape {:?}", tensor.dims()),
    }
}
