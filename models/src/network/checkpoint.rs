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

/// The learner's state, kept between steps.
#[derive(Debug)]
pub(super) struct LearnerState {
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) gradients: Gradients,
    pub(super) recompute: Recompute,
    pub(super) ema: Option<Ema>,
}

/// Writes all state that the next step depends on into a folder.
pub(super) fn save(folder: &Path, parameters: &Parameters, learning: Option<&LearnerState>) -> Result<(), ModelError> {
    let weights = parameters.trainable().map(|(name, var)| (name.to_owned(), var.as_tensor().clone()));
    write(&folder.join(WEIGHTS), weights)?;
    let Some(learning) = learning else { return Ok(()) };
    write(&folder.join(OPTIMIZER), learning.optimizer.state()?)?;
    match &learning.ema {
        Some(ema) => write(&folder.join(AVERAGE), ema.state()?),
        None => Ok(()),
    }
}

/// Restores a checkpoint; all files are read and the weights checked before any state changes.
pub(super) fn restore(
    folder: &Path,
    parameters: &Parameters,
    learning: Option<&mut LearnerState>,
) -> Result<(), ModelError> {
    let [weights_path, optimizer_path, average_path] = [WEIGHTS, OPTIMIZER, AVERAGE].map(|name| folder.join(name));
    let averages = learning.as_ref().is_some_and(|learning| learning.ema.is_some());
    if averages && !average_path.exists() {
        return Err(ModelError::format(
            folder,
            "the run was begun without an average (`model.ema`) here; begin it anew",
        ));
    }
    let average = if averages { Some(read(&average_path)?) } else { None };
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
    if let (Some(ema), Some(average)) = (&mut learning.ema, average) {
        ema.load_state(average.into_iter().collect()).map_err(|e| broken(&average_path, e))?;
    }
    Ok(())
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
