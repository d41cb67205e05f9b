//! Autoencoders in diffusers' format: `config.json` and `diffusion_pytorch_model.safetensors`.

use std::path::Path;

use candle_core::Device;

use super::component::{Expected, read_config, read_tensors};
use crate::ModelError;
use crate::vae::{Vae, VaeConfig};

/// Loads a folder of `config.json` and `diffusion_pytorch_model.safetensors`.
///
/// # Errors
/// Files that are missing or damaged, another class of model, tensors that do not match the config.
pub fn load_vae(folder: &Path, device: &Device) -> Result<Vae, ModelError> {
    let config = read_config(folder, VaeConfig::from_json)?;
    let expected = Expected {
        class: VaeConfig::CLASS,
        stem: "diffusion_pytorch_model",
        shapes: &config.tensor_shapes(),
        canonical: &|stored| Some(VaeConfig::canonical_name(stored)),
    };
    let tensors = read_tensors(folder, &expected, device)?;
    Vae::new(config, tensors)
}
