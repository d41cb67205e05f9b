//! Parses device names, and says where kernels are.

use std::cell::Cell;
use std::error::Error;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;

use crate::EngineError;

thread_local! {
    /// How many guards this thread holds.
    static WITHOUT_KERNELS: Cell<usize> = const { Cell::new(0) };
}

/// Computes without kernels until it is dropped: on this thread, the layers, gradients and optimisers take the forms on the CPU
/// that other devices get.
///
/// That is slow. It is for tests, which so compare whole models in both forms where there is no other device.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use engine::device::WithoutKernels;
/// use engine::ops::gelu;
///
/// # fn main() -> candle_core::Result<()> {
/// let x = Tensor::new(&[0.5f32, 2.], &Device::Cpu)?;
/// let composed = { let _guard = WithoutKernels::begin(); gelu(&x)? };
/// assert!((composed - gelu(&x)?)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it ends where it is dropped"]
pub struct WithoutKernels {
    /// A guard is dropped on the thread that it is for.
    stays: PhantomData<*const ()>,
}

impl WithoutKernels {
    /// Begins to compute without kernels. Guards may be nested.
    pub fn begin() -> Self {
        WITHOUT_KERNELS.set(WITHOUT_KERNELS.get() + 1);
        Self { stays: PhantomData }
    }
}

impl Drop for WithoutKernels {
    fn drop(&mut self) {
        WITHOUT_KERNELS.set(WITHOUT_KERNELS.get() - 1);
    }
}

/// Whether the kernels of this crate compute on a device.
pub fn has_kernels(device: &Device) -> bool {
    device.is_cpu() && WITHOUT_KERNELS.get() == 0
}

/// Which of the processes of this host this one is.
static PLACE: AtomicUsize = AtomicUsize::new(0);

/// Says which of the processes that compute on this host this one is, from 0; `cuda` is a device of its own then, as far as there are
/// as many.
pub fn share_host(place: usize) {
    PLACE.store(place, Ordering::Relaxed);
}

/// Opens the device that `text` names: `cpu`, `cuda:N`, or `cuda`, which is the first one, and of several processes of a host
/// ([`share_host`]) each one's own: N is the process's place there modulo the number of devices.
///
/// # Errors
/// Text that names no device, a CUDA device in a build without CUDA or on a machine that has none of that number, a device that the
/// driver cannot open.
///
/// # Examples
/// ```
/// assert!(engine::device::parse("cpu").is_ok_and(|device| device.is_cpu()));
/// assert!(engine::device::parse("abacus").is_err());
/// ```
pub fn parse(text: &str) -> Result<Device, EngineError> {
    let unknown = || EngineError::UnknownDevice { text: text.to_owned() };
    match text {
        "cpu" => Ok(Device::Cpu),
        "cuda" => open_cuda(text, None),
        _ => open_cuda(text, Some(text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(unknown)?)),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(text: &str, _: Option<usize>) -> Result<Device, EngineError> {
    Err(EngineError::NoCuda { text: text.to_owned() })
}

#[cfg(feature = "cuda")]
fn open_cuda(text: &str, number: Option<usize>) -> Result<Device, EngineError> {
    use candle_core::cuda::cudarc::driver::{CudaContext, DriverError};

    // The driver says it in words if it can.
    let reason = |error: DriverError| match error.error_string() {
        Ok(words) => words.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    };
    let count = CudaContext::device_count().map_err(reason);
    let count = count.map_err(|reason| EngineError::NoDevice { text: text.to_owned(), reason })?;
    let number = chosen(text, number, PLACE.load(Ordering::Relaxed), usize::try_from(count).unwrap_or(0))?;
    Device::new_cuda(number).map_err(|source| EngineError::Device { text: text.to_owned(), source })
}

/// The number of the device that a process of this place in its host gets, of `count`.
#[cfg(any(test, feature = "cuda"))]
fn chosen(text: &str, number: Option<usize>, place: usize, count: usize) -> Result<usize, EngineError> {
    let text = text.to_owned();
    match number {
        _ if count == 0 => Err(EngineError::NoDevice { text, reason: "the driver lists none".to_owned() }),
        Some(number) if number >= count => Err(EngineError::FewerDevices { text, count }),
        Some(number) => Ok(number),
        None => Ok(place % count),
    }
}

/// Starts `n` threads for the computations on the CPU (0: one for each core), of which the calling thread is one; has no effect where they were
/// started before.
///
/// The calling thread must be the only one that computes from outside: it does its share of every computation itself, where it would
/// otherwise sleep until others have done it. From another thread computations wait for those that were started here, for ever if
/// there are none.
///
/// # Errors
/// The system starts no more threads.
pub fn start_threads_with_this(n: usize) -> std::io::Result<()> {
    let built = rayon::ThreadPoolBuilder::new().num_threads(n).use_current_thread().build_global();
    match built.err().map(Box::<dyn Error>::from).and_then(|error| error.downcast::<std::io::Error>().ok()) {
        // Any other error is that the threads have been started.
        Some(error) => Err(*error),
        None => Ok(()),
    }
}

/// Starts `n` threads for the computations on the CPU; has no effect where they were started before.
///
/// Sums are taken in an order that does not depend on the number of threads, so neither do results.
pub fn start_threads(n: usize) {
    // The only error is that the threads have been started.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(n).build_global();
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::{WithoutKernels, chosen, has_kernels, parse};

    #[test]
    fn a_guard_is_for_its_own_thread_while_it_lives() {
        assert!(has_kernels(&Device::Cpu));
        {
            let _outer = WithoutKernels::begin();
            drop(WithoutKernels::begin());
            assert!(!has_kernels(&Device::Cpu));
            assert!(std::thread::spawn(|| has_kernels(&Device::Cpu)).join().unwrap());
        }
        assert!(has_kernels(&Device::Cpu));
    }

    #[test]
    fn text_to_device() {
        assert!(parse("cpu").unwrap().is_cpu());
        for text in ["", "CPU", "cuda:", "cuda:-1", "cuda:first", "cuda:0 ", "gpu"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("unknown device") && message.contains(text), "{message}");
        }
    }

    #[test]
    fn every_process_of_a_host_has_a_device_of_its_own() {
        let numbers = |number, count| [0, 1, 2, 3].map(|place| chosen("cuda", number, place, count).unwrap());
        assert_eq!(numbers(None, 4), [0, 1, 2, 3]);
        assert_eq!(numbers(None, 8), [0, 1, 2, 3]);
        // More processes than devices share them, and a launcher may show each process one alone.
        assert_eq!(numbers(None, 2), [0, 1, 0, 1]);
        assert_eq!(numbers(None, 1), [0; 4]);
        assert_eq!(numbers(Some(2), 4), [2; 4]);
    }

    #[test]
    fn a_device_that_is_not_there_is_refused_by_how_many_are() {
        let refusal = |number, count| chosen("cuda:2", number, 1, count).unwrap_err().to_string();
        let message = refusal(Some(2), 2);
        assert!(message.contains("`cuda:2`: 2 CUDA devices") && message.contains("`cuda:1`"), "{message}");
        for number in [None, Some(0)] {
            let message = refusal(number, 0);
            assert!(message.contains("no CUDA device") && message.contains("nvidia-smi"), "{message}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        for text in ["cuda", "cuda:1"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("--features cuda") && message.contains(text), "{message}");
        }
    }
}
