//! Checkpoint files: trainable parameters, optimiser state, EMA.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var, safetensors};
use engine::checkpoint::Recompute;
use engine::ema::Ema;
use engine::optim::Optimizer;
use engine::sums::DeviceSums;
use engine::transfer::{from_host, to_host};
use engine::{Gradients, Parameters};
use policies::Shares;

use crate::ModelError;
use crate::weights_file::WeightsFile;

const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const AVERAGE: &str = "average.safetensors";
const FOLLOWER: &str = "reference.safetensors";

/// The learner's state, kept between steps.
#[derive(Debug)]
pub(super) struct LearnerState {
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) gradients: Gradients,
    pub(super) recompute: Recompute,
    pub(super) ema: Option<Ema>,
    /// The average that is the reference of training.
    pub(super) follower: Option<Ema>,
    /// The devices of all processes, if they sum gradients.
    pub(super) sums: Option<Arc<dyn DeviceSums>>,
}

/// Writes all state that the next step depends on into a folder.
pub(super) fn save(folder: &Path, parameters: &Parameters, learning: Option<&LearnerState>) -> Result<(), ModelError> {
    let Some(learning) = learning else { return write_weights(folder, parameters) };
    save_with(folder, parameters, learning, learning.optimizer.state()?)
}

/// As [`save`], with the optimiser's state as given.
pub(super) fn save_with(
    folder: &Path,
    parameters: &Parameters,
    learning: &LearnerState,
    optimizer: BTreeMap<String, Tensor>,
) -> Result<(), ModelError> {
    write_weights(folder, parameters)?;
    write(&folder.join(OPTIMIZER), optimizer)?;
    for (name, average) in [(AVERAGE, &learning.ema), (FOLLOWER, &learning.follower)] {
        if let Some(average) = average {
            write(&folder.join(name), average.state()?)?;
        }
    }
    Ok(())
}

fn write_weights(folder: &Path, parameters: &Parameters) -> Result<(), ModelError> {
    write(&folder.join(WEIGHTS), parameters.trainable().map(|(name, var)| (name.to_owned(), var.as_tensor().clone())))
}

/// The optimiser's state of which each process has its own share, whole.
pub(super) fn whole_state(
    parameters: &Parameters,
    learning: &LearnerState,
    shares: &dyn Shares,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let variables: BTreeMap<&str, &Var> = parameters.trainable().collect();
    let mut state = learning.optimizer.state()?;
    for (key, tensor) in &mut state {
        let Some(var) = key.split_once('.').and_then(|(_, name)| variables.get(name)) else { continue };
        let len = var.elem_count();
        // Counts of steps are the same everywhere, and what was loaded is whole until the next step. The share of a single number may
        // be all of it.
        if tensor.rank() == 0 || len > 1 && tensor.dims() == var.dims() {
            continue;
        }
        let (mut whole, own) = (vec![0.0; len], shares.own(len));
        let kept = numbers(tensor)?;
        whole[own.clone()].copy_from_slice(&kept[..own.len()]);
        shares.complete(&mut whole);
        *tensor = from_host(whole, var.dims(), &Device::Cpu)?.to_dtype(tensor.dtype())?;
    }
    Ok(state)
}

/// The numbers of a tensor in the order of its memory, as processes that share the optimiser's state exchange them.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    if tensor.dtype() == DType::F64 {
        return Err(ModelError::Argument {
            what: "the type of weights whose optimiser's state is shared".into(),
            expected: "of at most 32 bits".into(),
            got: "f64".into(),
        });
    }
    Ok(to_host(tensor)?)
}

/// Restores a checkpoint; all files are read and the weights checked before any state changes.
pub(super) fn restore(
    folder: &Path,
    parameters: &Parameters,
    learning: Option<&mut LearnerState>,
) -> Result<(), ModelError> {
    let [weights_path, optimizer_path] = [WEIGHTS, OPTIMIZER].map(|name| folder.join(name));
    let averages = learning.as_ref().map(|learning| [learning.ema.is_some(), learning.follower.is_some()]);
    let averages = averages.unwrap_or_default();
    let average = if averages[0] { Some(read_average(folder, AVERAGE, "model.ema")?) } else { None };
    let follower = if averages[1] { Some(read_average(folder, FOLLOWER, "model.reference_ema")?) } else { None };
    let mut weights = read(&weights_path)?;
    check(&weights_path, parameters, &weights)?;
    let state = if learning.is_some() { Some(read(&optimizer_path)?) } else { None };
    for (name, var) in parameters.trainable() {
        if let Some(tensor) = weights.remove(name) {
            var.set(&tensor.to_device(var.device())?)?;
        }
    }
    let (Some(learning), Some(state)) = (learning, state) else { return Ok(()) };
    let broken = |path: &Path, error: engine::EngineError| ModelError::format(path, error.to_string());
    learning.optimizer.load_state(state.into_iter().collect()).map_err(|e| broken(&optimizer_path, e))?;
    learning.gradients.clear();
    for (name, ema, state) in [(AVERAGE, &mut learning.ema, average), (FOLLOWER, &mut learning.follower, follower)] {
        if let (Some(ema), Some(state)) = (ema, state) {
            ema.load_state(state.into_iter().collect()).map_err(|e| broken(&folder.join(name), e))?;
        }
    }
    Ok(())
}

/// Reads an average that a setting keeps.
fn read_average(folder: &Path, name: &str, setting: &str) -> Result<HashMap<String, Tensor>, ModelError> {
    let path = folder.join(name);
    if path.exists() {
        return read(&path);
    }
    let without = format!("the run was begun without an average (`{setting}`) here; begin it anew");
    Err(ModelError::format(folder, without))
}

fn check(path: &Path, parameters: &Parameters, weights: &HashMap<String, Tensor>) -> Result<(), ModelError> {
    for (name, var) in parameters.trainable() {
        match weights.get(name) {
            None => return Err(ModelError::tensor(path, name, "is missing")),
            Some(tensor) if tensor.dims() != var.dims() || tensor.dtype() != var.dtype() => {
                let (dtype, dims, expected) = (tensor.dtype(), tensor.dims(), (var.dtype(), var.dims()));
                let reason = format!("is {dtype:?} {dims:?}, expected {:?} {:?}", expected.0, expected.1);
                return Err(ModelError::tensor(path, name, reason));
            }
            Some(_) => {}
        }
    }
    match weights.keys().find(|name| !parameters.is_trainable(name)) {
        Some(name) => Err(ModelError::tensor(path, name, "is none of the weights this model learns")),
        None => Ok(()),
    }
}

/// Writes tensors under their names.
fn write(path: &Path, tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<(), ModelError> {
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    safetensors::save(&tensors, path).map_err(|e| ModelError::format(path, format!("cannot be written: {e}")))
}

/// Reads a file of [`write`].
fn read(path: &Path) -> Result<HashMap<String, Tensor>, ModelError> {
    let file = WeightsFile::open(path)?;
    let names: Vec<String> = file.entries().keys().cloned().collect();
    names.into_iter().map(|name| file.read_as_stored(&name).map(|tensor| (name, tensor))).collect()
}
