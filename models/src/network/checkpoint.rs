//! Checkpoint files: trainable parameters, optimiser state, EMA.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Tensor, safetensors};
use engine::checkpoint::Recompute;
use engine::ema::Ema;
use engine::optim::Optimizer;
use engine::{Gradients, Parameters};

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
}

/// Writes all state that the next step depends on into a folder.
pub(super) fn save(folder: &Path, parameters: &Parameters, learning: Option<&LearnerState>) -> Result<(), ModelError> {
    let weights = parameters.trainable().map(|(name, var)| (name.to_owned(), var.as_tensor().clone()));
    write(&folder.join(WEIGHTS), weights)?;
    let Some(learning) = learning else { return Ok(()) };
    write(&folder.join(OPTIMIZER), learning.optimizer.state()?)?;
    for (name, average) in [(AVERAGE, &learning.ema), (FOLLOWER, &learning.follower)] {
        if let Some(average) = average {
            write(&folder.join(name), average.state()?)?;
        }
    }
    Ok(())
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
