//! Parses device names.

use candle_core::Device;

use crate::EngineError;

/// Opens the device that `text` names: `cpu`, `cuda` (the first one) or `cuda:N`.
///
/// # Errors
/// Text that names no device, a CUDA device in a build without CUDA, a device that the driver cannot open.
///
/// # Examples
/// ```
/// assert!(engine::device::parse("cpu").is_ok_and(|device| device.is_cpu()));
/// assert!(engine::device::parse("abacus").is_err());
/// ```
pub fn parse(text: &str) -> Result<Device, EngineError> {
    let unknown = || EngineError::UnknownDevice { text: text.to_owned() };
    let ordinal = match text {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(unknown)?,
    };
    if !candle_core::utils::cuda_is_available() {
        return Err(EngineError::NoCuda { text: text.to_owned() });
    }
    Device::new_cuda(ordinal).map_err(|source| EngineError::Device { text: text.to_owned(), source })
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
    use super::parse;

    #[test]
    fn text_to_device() {
        assert!(parse("cpu").unwrap().is_cpu());
        for text in ["", "CPU", "cuda:", "cuda:-1", "cuda:first", "cuda:0 ", "gpu"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("unknown device") && message.contains(text), "{message}");
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
