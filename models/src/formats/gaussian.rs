//! Gaussian policies of continuous control on disk: `config.json`, and `model.safetensors` with the names and layouts of
//! PyTorch's linear layers.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use policies::{Persist, PolicyError, Shares};

use super::SaveOptions;
use super::component::{Expected, read_config, read_tensors};
use super::huggingface::compare;
use super::save::write_weights;
use super::staging::Staging;
use crate::ModelError;
use crate::export::Exported;
use crate::gaussian::{GaussianConfig, GaussianMlp, LearnerOptions};
use crate::tensors::shapes;

const STEM: &str = "model";

/// Loads a frozen policy from a folder that [`save_gaussian`] wrote.
///
/// # Errors
/// A file that is missing, damaged or of another kind; tensors that are missing, unknown, of the wrong shape or not
/// finite.
pub fn load_gaussian(folder: &Path, device: &Device) -> Result<GaussianMlp, ModelError> {
    let (config, tensors) = read(folder, device)?;
    GaussianMlp::frozen(config, tensors)
}

/// Loads a policy from a folder to train it further.
///
/// # Errors
/// As [`load_gaussian`], and adapters.
pub fn load_gaussian_to_train(
    folder: &Path,
    training: LearnerOptions,
    device: &Device,
) -> Result<GaussianMlp, ModelError> {
    let (config, tensors) = read(folder, device)?;
    GaussianMlp::trainable(config, tensors, training)
}

fn read(folder: &Path, device: &Device) -> Result<(GaussianConfig, BTreeMap<String, Tensor>), ModelError> {
    let config = read_config(folder, GaussianConfig::from_json)?;
    let canonical = |name: &str| Some(name.to_owned());
    let expected =
        Expected { class: "Gaussian policy", stem: STEM, shapes: &config.tensor_shapes(), canonical: &canonical };
    let tensors = read_tensors(folder, &expected, device)?;
    Ok((config, tensors))
}

/// Writes a folder of a policy, atomically; an existing one is replaced.
///
/// # Errors
/// Tensors that do not match the config, an I/O error.
pub fn save_gaussian(folder: &Path, model: &Exported<'_, GaussianConfig>) -> Result<(), ModelError> {
    compare(folder, "Gaussian policy", &model.config.tensor_shapes(), &shapes(&model.tensors))?;
    let staging = Staging::new(folder)?;
    staging.write("config.json", format!("{:#}\n", model.config.to_json()).as_bytes())?;
    write_weights(&staging, STEM, &model.tensors, SaveOptions::default())?;
    staging.publish()
}

impl Persist for GaussianMlp {
    /// Writes the weights, the optimiser state, and the EMA if there is one.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError> {
        Ok(self.network.save_checkpoint(folder)?)
    }

    fn save_checkpoint_of_shares(&self, folder: Option<&Path>, shares: &dyn Shares) -> Result<(), PolicyError> {
        Ok(self.network.save_checkpoint_of_shares(folder, shares)?)
    }

    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError> {
        Ok(self.network.restore_checkpoint(folder)?)
    }

    /// Writes a folder that [`load_gaussian`] reads. An EMA replaces the weights.
    fn export(&self, folder: &Path) -> Result<(), PolicyError> {
        Ok(save_gaussian(folder, &self.exported()?)?)
    }

    fn fingerprint(&self) -> Result<String, PolicyError> {
        Ok(self.network.fingerprint(&self.config().to_json().to_string())?)
    }
}
