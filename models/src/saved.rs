//! What a learner saves to be taken up again: all that learns, the optimiser's state, averages.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Tensor, safetensors};
use engine::Parameters;
use engine::optim::Optimizer;

use crate::ModelError;
use crate::formats::safetensors::SafetensorsFile;

const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// Writes the trainable parameters and the optimiser's state into a folder.
pub(crate) fn save(
    folder: &Path,
    parameters: &Parameters,
    optimizer: Option<&dyn Optimizer>,
) -> Result<(), ModelError> {
    let weights = parameters.trainable().map(|(name, var)| (name.to_owned(), var.as_tensor().clone()));
    write(&folder.join(WEIGHTS), weights)?;
    match optimizer {
        Some(optimizer) => write(&folder.join(OPTIMIZER), optimizer.state()?),
        None => Ok(()),
    }
}

/// Takes them back; all is checked before anything is changed.
pub(crate) fn restore(
    folder: &Path,
    parameters: &Parameters,
    optimizer: Option<&mut Box<dyn Optimizer>>,
) -> Result<(), ModelError> {
    let path = folder.join(WEIGHTS);
    let mut weights = read(&path)?;
    check(&path, parameters, &weights)?;
    let optimizer_path = folder.join(OPTIMIZER);
    let state = if optimizer.is_some() { Some(read(&optimizer_path)?) } else { None };
    for (name, var) in parameters.trainable() {
        if let Some(tensor) = weights.remove(name) {
            var.set(&tensor.to_device(var.device())?)?;
        }
    }
    if let (Some(optimizer), Some(state)) = (optimizer, state) {
        let state = state.into_iter().collect();
        optimizer.load_state(state).map_err(|e| ModelError::format(&optimizer_path, e.to_string()))?;
    }
    Ok(())
}

/// Gives everything that learns the numbers of an earlier training; all is checked before anything is changed.
pub(crate) fn start_from(parameters: &Parameters, tensors: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    let misfit = |name: &str, expected: String, got: String| {
        Err(ModelError::Argument { what: format!("adapter `{name}`"), expected, got })
    };
    for (name, var) in parameters.trainable() {
        match tensors.get(name) {
            None => return misfit(name, "one of an earlier training".to_owned(), "none".to_owned()),
            Some(tensor) if tensor.dims() != var.dims() => {
                return misfit(name, format!("shape {:?}", var.dims()), format!("{:?}", tensor.dims()));
            }
            Some(_) => {}
        }
    }
    if let Some(name) = tensors.keys().find(|name| !parameters.is_trainable(name)) {
        return misfit(name, "only layers that learn".to_owned(), "another".to_owned());
    }
    for (name, var) in parameters.trainable() {
        if let Some(tensor) = tensors.get(name) {
            var.set(&tensor.to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
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
pub(crate) fn write(path: &Path, tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<(), ModelError> {
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    safetensors::save(&tensors, path).map_err(|e| ModelError::format(path, format!("cannot be written: {e}")))
}

/// Reads what [`write`] wrote.
pub(crate) fn read(path: &Path) -> Result<HashMap<String, Tensor>, ModelError> {
    let mut file = SafetensorsFile::open(path)?;
    let names: Vec<String> = file.entries().keys().cloned().collect();
    names.into_iter().map(|name| file.read_as_stored(&name).map(|tensor| (name, tensor))).collect()
}
