//! Copies between tensors and this process's memory, all of which go through here and are counted.
//!
//! On the CPU they are copies like any other. On another device each waits for all that was computed before it, so a step should
//! have few of them, and small ones. [`copies`] says how many a thread has made; candle itself counts none.

use std::cell::Cell;
use std::ops::Sub;

use candle_core::shape::ShapeWithOneHole;
use candle_core::{Device, Result, Storage, Tensor, WithDType, bail};

use crate::device::has_kernels;

/// How many copies there were, and of how many numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Copies of a tensor to this process's memory.
    pub reads: usize,
    /// The numbers of these.
    pub numbers_read: usize,
    /// Tensors that were made of numbers in this process's memory.
    pub writes: usize,
    /// The numbers of these.
    pub numbers_written: usize,
}

impl Sub for Copies {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            numbers_read: self.numbers_read - before.numbers_read,
            writes: self.writes - before.writes,
            numbers_written: self.numbers_written - before.numbers_written,
        }
    }
}

thread_local! {
    static COPIES: Cell<Copies> = const { Cell::new(Copies { reads: 0, numbers_read: 0, writes: 0, numbers_written: 0 }) };
}

/// The copies that this thread has made so far.
///
/// ```
/// use candle_core::Device;
/// use engine::transfer::{copies, from_host, to_host};
///
/// # fn main() -> candle_core::Result<()> {
/// let before = copies();
/// let tensor = from_host(vec![1f32, 2., 3.], 3, &Device::Cpu)?;
/// assert_eq!(to_host::<f64>(&tensor.sum_keepdim(0)?)?, [6.]);
/// let made = copies() - before;
/// assert_eq!((made.writes, made.numbers_written, made.reads, made.numbers_read), (1, 3, 1, 1));
/// # Ok(())
/// # }
/// ```
pub fn copies() -> Copies {
    COPIES.get()
}

/// The numbers of a tensor in row-major order, converted to `T` on its device.
///
/// # Errors
/// The device fails.
pub fn to_host<T: WithDType>(tensor: &Tensor) -> Result<Vec<T>> {
    with_host(tensor, <[T]>::to_vec)
}

/// Lends the numbers of a tensor, as [`to_host`] has them; those of a contiguous one on the CPU are not copied.
///
/// # Errors
/// The device fails.
pub fn with_host<T: WithDType, R>(tensor: &Tensor, used: impl FnOnce(&[T]) -> R) -> Result<R> {
    let tensor = tensor.detach().to_dtype(T::DTYPE)?;
    // Candle copies all of a tensor's memory to the CPU, and a part of a tensor has all of it.
    let tensor = if has_kernels(tensor.device()) { tensor.contiguous()? } else { tensor.force_contiguous()? };
    let tensor = tensor.to_device(&Device::Cpu)?;
    let made = COPIES.get();
    COPIES.set(Copies { reads: made.reads + 1, numbers_read: made.numbers_read + tensor.elem_count(), ..made });
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(numbers), Some((start, end))) => match numbers.as_slice::<T>()?.get(start..end) {
            Some(numbers) => Ok(used(numbers)),
            None => bail!("a tensor of shape {:?} whose numbers were taken is read", tensor.dims()),
        },
        _ => bail!("a tensor of shape {:?} did not come to the CPU in one run", tensor.dims()),
    }
}

/// A tensor of these numbers on a device.
///
/// # Errors
/// As many numbers as the shape does not have; the device is out of memory.
pub fn from_host<S: ShapeWithOneHole, T: WithDType>(numbers: Vec<T>, shape: S, device: &Device) -> Result<Tensor> {
    let made = COPIES.get();
    COPIES.set(Copies { writes: made.writes + 1, numbers_written: made.numbers_written + numbers.len(), ..made });
    Tensor::from_vec(numbers, shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::WithoutKernels;
    use candle_core::DType;

    #[test]
    fn strided_and_half_precise_tensors_are_read_in_order() {
        let tensor = Tensor::arange(0f32, 6., &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        assert_eq!(to_host::<f32>(&tensor.t().unwrap()).unwrap(), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(to_host::<f64>(&tensor.to_dtype(DType::BF16).unwrap()).unwrap(), [0., 1., 2., 3., 4., 5.]);
        let part = tensor.narrow(0, 1, 1).unwrap();
        assert_eq!(to_host::<f32>(&part).unwrap(), [3., 4., 5.]);
        let guard = WithoutKernels::begin();
        assert_eq!(to_host::<f32>(&part).unwrap(), [3., 4., 5.]);
        drop(guard);
        let before = copies();
        assert!(to_host::<f32>(&Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap()).unwrap().is_empty());
        assert_eq!((copies() - before).reads, 1);
        assert!(from_host(vec![1f32], 2, &Device::Cpu).is_err());
    }

    #[test]
    fn copies_are_those_of_this_thread() {
        let before = copies();
        std::thread::spawn(|| from_host(vec![1f32], 1, &Device::Cpu).unwrap()).join().unwrap();
        assert_eq!(copies(), before);
    }
}
