//! UNets as diffusers keeps them: `config.json` and `diffusion_pytorch_model.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::SaveOptions;
use super::component::{Expected, read_tensors, write_tensors};
use super::extras::read_object;
use super::huggingface::compare;
use super::staging::Staging;
use crate::ModelError;
use crate::denoiser::{Denoiser, LatentShape, Prediction, SamplerConfig, Training, check_channels};
use crate::tensors::shapes;
use crate::unet::UNetConfig;

const STEM: &str = "diffusion_pytorch_model";

/// A UNet as read from disk.
#[derive(Clone, Debug)]
pub struct UNetFiles {
    /// Where it was read from.
    pub path: PathBuf,
    /// The checked configuration.
    pub config: UNetConfig,
    /// Every tensor, f32, under diffusers' name; kernels are `[out, height, width, in]`.
    pub tensors: BTreeMap<String, Tensor>,
}

impl UNetFiles {
    /// Makes a denoiser that stays as it is of the files: [`Denoiser::frozen`].
    ///
    /// # Errors
    /// Tensors that are not those of the configuration; latents of other channels.
    pub fn frozen(
        self,
        prediction: Prediction,
        shape: LatentShape,
        acting: SamplerConfig,
    ) -> Result<Denoiser, ModelError> {
        self.check_channels(shape)?;
        Denoiser::frozen(self.config, self.tensors, prediction, shape, acting)
    }

    /// Makes a denoiser that learns of the files: [`Denoiser::trainable`].
    ///
    /// # Errors
    /// As [`UNetFiles::frozen`], and adapter settings that fit no layer.
    pub fn trainable(
        self,
        prediction: Prediction,
        shape: LatentShape,
        acting: SamplerConfig,
        training: Training,
    ) -> Result<Denoiser, ModelError> {
        self.check_channels(shape)?;
        Denoiser::trainable(self.config, self.tensors, prediction, shape, acting, training)
    }

    /// The check of the denoiser itself, with the path in its message.
    fn check_channels(&self, shape: LatentShape) -> Result<(), ModelError> {
        check_channels(shape, &self.config, &format!("the latents for {}", self.path.display()))
    }
}

/// Loads a `unet/` folder: one file of weights or shards and their index, of full numbers or (`.fp16`) halves.
///
/// # Errors
/// A file that is missing, damaged or of another kind; a variant of UNet that is not built here; tensors that are
/// missing, unknown, misshapen or not finite.
pub fn load_unet(folder: &Path, device: &Device) -> Result<UNetFiles, ModelError> {
    let path = folder.join("config.json");
    let config = UNetConfig::from_json(read_object(&path)?).map_err(|error| match error {
        ModelError::Config { .. } | ModelError::Architecture { .. } => ModelError::format(&path, error.to_string()),
        other => other,
    })?;
    let expected = Expected {
        class: config.class.name(),
        stem: STEM,
        shapes: &config.tensor_shapes(),
        canonical: &|name| Some(config.canonical_name(name)),
    };
    let tensors = read_tensors(folder, &expected, device)?;
    Ok(UNetFiles { path: folder.to_path_buf(), config, tensors })
}

/// Writes a folder that diffusers loads, whole or not at all; one that was there before is replaced.
///
/// # Errors
/// Tensors that are not those of `config`, a type that isn't a floating-point one, or the system refuses to write.
pub fn save_unet(
    folder: &Path,
    config: &UNetConfig,
    tensors: &BTreeMap<String, Tensor>,
    options: SaveOptions,
) -> Result<(), ModelError> {
    let staging = Staging::new(folder)?;
    write_unet(&staging, folder, config, tensors, options)?;
    staging.publish()
}

/// Writes a UNet into a folder under construction, which will be `folder`.
///
/// # Errors
/// As [`save_unet`].
pub(crate) fn write_unet(
    staging: &Staging,
    folder: &Path,
    config: &UNetConfig,
    tensors: &BTreeMap<String, Tensor>,
    options: SaveOptions,
) -> Result<(), ModelError> {
    compare(folder, config.class.name(), &config.tensor_shapes(), &shapes(tensors))?;
    staging.write("config.json", format!("{:#}\n", config.to_json()).as_bytes())?;
    write_tensors(staging, STEM, tensors, options)
}
