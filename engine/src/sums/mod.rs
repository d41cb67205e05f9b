//! Sums of gradients over processes, on the devices where they lie.
//!
//! Processes that train one policy each have a copy of it, and a device. Where a library knows all of the devices and how to reach
//! one from another (NCCL, for GPUs, in a build with the feature `nccl`), it sums there, and no gradient comes to a process's memory.

#[cfg(feature = "nccl")]
mod nccl;

use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::{EngineError, Gradients, Parameters};

/// Brings bytes to all processes; those of each, by its rank. All processes call it together.
pub type Gather<'g> = dyn Fn(&[u8]) -> Vec<Vec<u8>> + 'g;

/// Devices of several processes that sum tensors among themselves.
pub trait DeviceSums: fmt::Debug + Send + Sync {
    /// Replaces the numbers of every tensor by their sums over all processes, in the tensor's own memory. All processes call it
    /// together, with contiguous tensors of equal shapes in one order, and get the same bits.
    ///
    /// # Errors
    /// A tensor of another device or of a dtype that is not summed; the library fails.
    fn sum(&self, tensors: &[&Tensor]) -> candle_core::Result<()>;
}

/// A library that joins devices, as one process sees it.
trait Library {
    /// What tells this process's device from any other, on any host; never empty.
    fn device(&self) -> Result<Vec<u8>, EngineError>;

    /// What this process has joined before, with the same device: all processes have, or none.
    fn joined(&self) -> Option<Arc<dyn DeviceSums>>;

    /// Makes what the others need to join; never empty.
    fn invite(&self) -> Result<Vec<u8>, EngineError>;

    /// Joins the devices of all processes, as one of so many. It returns when all have called it.
    fn join(&self, invitation: &[u8], rank: usize, size: usize) -> Result<Arc<dyn DeviceSums>, EngineError>;
}

/// Joins this process's device with those of all others, which call this together; `None`, in all of them, where one has a device
/// that no library sums on. Processes that have joined before are joined.
///
/// # Errors
/// Two processes have the same device; the library fails.
pub fn join(device: &Device, rank: usize, gather: &Gather<'_>) -> Result<Option<Arc<dyn DeviceSums>>, EngineError> {
    meet(library(device).as_deref(), rank, gather)
}

/// Replaces every gradient by its sum over all processes; a parameter without one has zeros in it.
///
/// # Errors
/// The devices fail.
pub fn sum_gradients(
    sums: &dyn DeviceSums,
    gradients: &mut Gradients,
    parameters: &Parameters,
) -> Result<(), EngineError> {
    for name in gradients.missing(parameters) {
        let zeros = parameters.get(name)?.zeros_like().map_err(EngineError::named("make zeros for", name))?;
        gradients.add(name, &zeros)?;
    }
    let all: Vec<&Tensor> = gradients.iter().map(|(_, gradient)| gradient).collect();
    sums.sum(&all).map_err(|source| EngineError::DeviceSums { action: "sum gradients", reason: source.to_string() })
}

#[cfg(feature = "nccl")]
fn library(device: &Device) -> Option<Box<dyn Library>> {
    nccl::library(device)
}

#[cfg(not(feature = "nccl"))]
fn library(_: &Device) -> Option<Box<dyn Library>> {
    None
}

/// Joins by a library, which a process may lack.
fn meet(
    library: Option<&dyn Library>,
    rank: usize,
    gather: &Gather<'_>,
) -> Result<Option<Arc<dyn DeviceSums>>, EngineError> {
    let own = library.map(Library::device).transpose();
    // Whoever fails takes part, or the others would wait for ever.
    let devices = gather(own.as_ref().ok().and_then(Option::as_deref).unwrap_or_default());
    own?;
    let Some(library) = library.filter(|_| devices.iter().all(|device| !device.is_empty())) else { return Ok(None) };
    for (second, device) in devices.iter().enumerate() {
        if let Some(first) = devices[..second].iter().position(|other| other == device) {
            return Err(EngineError::SharedDevice { ranks: [first, second] });
        }
    }
    if let Some(joined) = library.joined() {
        return Ok(Some(joined));
    }
    let invitation = if rank == 0 { library.invite() } else { Ok(Vec::new()) };
    let told = gather(invitation.as_deref().unwrap_or_default());
    invitation?;
    match told.first().filter(|invitation| !invitation.is_empty()) {
        Some(invitation) => library.join(invitation, rank, told.len()).map(Some),
        None => Err(EngineError::DeviceSums { action: "join devices", reason: "rank 0 has failed".to_owned() }),
    }
}

#[cfg(test)]
mod tests;
