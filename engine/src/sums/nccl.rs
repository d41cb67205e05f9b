//! NCCL, which sums over NVIDIA's GPUs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backend::BackendStorage as _;
use candle_core::cuda::CudaDType;
use candle_core::cuda::cudarc::driver::DeviceRepr;
use candle_core::cuda::cudarc::nccl::result::NcclError;
use candle_core::cuda::cudarc::nccl::safe::{Comm, Id, NcclType, ReduceOp, group_end, group_start};
use candle_core::{CpuStorage, CudaDevice, CudaStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};

use super::{DeviceSums, Library};
use crate::EngineError;

/// NCCL for a process's GPU.
pub(super) fn library(device: &Device) -> Option<Box<dyn Library>> {
    match device {
        Device::Cuda(device) => Some(Box::new(Nccl(device.clone()))),
        Device::Cpu | Device::Metal(_) => None,
    }
}

/// What this process has joined, by the number of its GPU. It stays to the process's end: every policy that is made uses it, and a
/// communicator must not outlive the driver, as one that is dropped last would.
static JOINED: Mutex<BTreeMap<usize, Arc<Joined>>> = Mutex::new(BTreeMap::new());

fn joined() -> MutexGuard<'static, BTreeMap<usize, Arc<Joined>>> {
    JOINED.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Nccl(CudaDevice);

impl Nccl {
    fn ordinal(&self) -> usize {
        self.0.cuda_stream().context().ordinal()
    }
}

impl Library for Nccl {
    fn device(&self) -> std::result::Result<Vec<u8>, EngineError> {
        let uuid = self.0.cuda_stream().context().uuid();
        let uuid = uuid.map_err(|error| failed("tell GPUs apart", &error.to_string()))?;
        Ok(uuid.bytes.iter().map(|byte| *byte as u8).collect())
    }

    fn joined(&self) -> Option<Arc<dyn DeviceSums>> {
        joined().get(&self.ordinal()).map(|joined| Arc::clone(joined) as Arc<dyn DeviceSums>)
    }

    fn invite(&self) -> std::result::Result<Vec<u8>, EngineError> {
        let id = Id::new().map_err(|error| failed("begin", &named(&error)))?;
        Ok(id.internal().iter().map(|byte| *byte as u8).collect())
    }

    fn join(
        &self,
        invitation: &[u8],
        rank: usize,
        size: usize,
    ) -> std::result::Result<Arc<dyn DeviceSums>, EngineError> {
        let id: Vec<_> = invitation.iter().map(|byte| (*byte).cast_signed() as std::ffi::c_char).collect();
        let Ok(id) = id.try_into() else { return Err(failed("join GPUs", "rank 0 has another version of NCCL")) };
        let stream = self.0.cuda_stream();
        // NCCL joins the GPU that is the thread's own.
        stream.context().bind_to_thread().map_err(|error| failed("join GPUs", &error.to_string()))?;
        let comm = Comm::from_rank(stream, rank, size, Id::uninit(id));
        let comm = comm.map_err(|error| failed("join GPUs", &named(&error)))?;
        let made = Arc::new(Joined(Mutex::new(Movable(comm))));
        joined().insert(self.ordinal(), Arc::clone(&made));
        Ok(made)
    }
}

/// GPUs that are joined.
#[derive(Debug)]
struct Joined(Mutex<Movable>);

/// A communicator, which any thread may use while no other does.
#[derive(Debug)]
struct Movable(Comm);

#[expect(unsafe_code, reason = "the binding says nothing of threads")]
// SAFETY: NCCL binds no communicator to a thread. It wants one call at a time, to which the lock around it holds.
unsafe impl Send for Movable {}

impl DeviceSums for Joined {
    /// As one group, which NCCL starts at once. The stream is that of the thread that computes, so the sums follow what made the
    /// gradients, and what reads the sums follows them.
    fn sum(&self, tensors: &[&Tensor]) -> Result<()> {
        let comm = &self.0.lock().unwrap_or_else(PoisonError::into_inner).0;
        if let Err(error) = comm.context().bind_to_thread() {
            bail!("{error}")
        }
        let begun = group_start();
        let summed = tensors.iter().try_for_each(|tensor| tensor.inplace_op1(&AllReduce(comm)));
        // What has begun must end, whatever came of it.
        let ended = if begun.is_ok() { group_end() } else { begun.clone() };
        summed?;
        match begun.and(ended) {
            Ok(_) => Ok(()),
            Err(error) => bail!("NCCL says {}", named(&error)),
        }
    }
}

/// The sum over all GPUs in place of a tensor's numbers.
struct AllReduce<'c>(&'c Comm);

impl AllReduce<'_> {
    fn run<T: CudaDType + NcclType + DeviceRepr>(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a strided tensor is to be summed over GPUs");
        };
        if storage.device().cuda_stream().context().ordinal() != self.0.ordinal() {
            bail!("a tensor of another GPU is to be summed");
        }
        let mut numbers = storage.as_cuda_slice_mut::<T>()?.slice_mut(start..end);
        match self.0.all_reduce_in_place(&mut numbers, &ReduceOp::Sum) {
            Ok(_) => Ok(()),
            Err(error) => bail!("NCCL says {}", named(&error)),
        }
    }
}

impl InplaceOp1 for AllReduce<'_> {
    fn name(&self) -> &'static str {
        "all-reduce"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("a tensor on the CPU is to be summed over GPUs")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        match storage.dtype() {
            DType::F32 => self.run::<f32>(storage, layout),
            DType::F64 => self.run::<f64>(storage, layout),
            other => bail!("a tensor of {other:?} is to be summed over GPUs"),
        }
    }
}

fn failed(action: &'static str, reason: &str) -> EngineError {
    EngineError::DeviceSums { action, reason: format!("NCCL says {reason}") }
}

/// NCCL's own name of an error.
fn named(error: &NcclError) -> String {
    format!("{:?} (NCCL_DEBUG=INFO in the environment makes it say more)", error.0)
}

#[cfg(test)]
mod tests {
    use super::super::join;
    use super::super::tests::in_processes;
    use super::*;
    use crate::transfer::{from_host, to_host};
    use candle_core::cuda::cudarc::driver::CudaContext;

    /// One thread for each GPU of this machine, each a process of its own to NCCL.
    #[test]
    #[ignore = "it needs a GPU"]
    fn gpus_sum_what_lies_on_them() {
        let size = usize::try_from(CudaContext::device_count().unwrap()).unwrap();
        let sums = in_processes(size, |rank, gather| {
            let device = Device::new_cuda(rank).unwrap();
            let sums = join(&device, rank, gather).unwrap().unwrap();
            assert!(join(&device, rank, gather).unwrap().is_some(), "those who have joined are joined");
            let single = from_host(vec![rank as f32, 0.5, 2.0], 3, &device).unwrap();
            let double = from_host(vec![0.25 * rank as f64; 100_000], (100, 1000), &device).unwrap();
            sums.sum(&[&single, &double]).unwrap();
            (to_host::<f32>(&single).unwrap(), to_host::<f64>(&double).unwrap())
        });
        let n = size as f32;
        let of_ranks = n * (n - 1.0) / 2.0;
        for (single, double) in sums {
            assert_eq!(single, [of_ranks, 0.5 * n, 2.0 * n]);
            assert_eq!(double, vec![0.25 * f64::from(of_ranks); 100_000]);
        }
    }
}
