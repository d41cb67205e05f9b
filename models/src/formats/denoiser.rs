//! Networks that denoise in diffusers' format: `config.json` and `diffusion_pytorch_model.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::SaveOptions;
use super::component::{Expected, read_tensors, stored_type, write_tensors};
use super::extras::read_object;
use super::huggingface::compare;
use super::staging::Staging;
use crate::ModelError;
use crate::denoiser::{Denoiser, DenoiserConfig, LatentShape, LearnerOptions, Prediction, SamplerConfig};
use crate::tensors::shapes;

const STEM: &str = "diffusion_pytorch_model";

/// A network that denoises, as read from disk.
#[derive(Clone, Debug)]
pub struct DenoiserFiles {
    /// Its path.
    pub path: PathBuf,
    /// The validated config.
    pub config: DenoiserConfig,
    /// Every tensor, f32, under its diffusers name; kernels are `[out, height, width, in]`.
    pub tensors: BTreeMap<String, Tensor>,
    /// The type that most of its weights are stored in: F32, F16 or BF16.
    pub stored: DType,
}

impl DenoiserFiles {
    /// A network of plain tensors.
    pub fn plain(path: &Path, config: DenoiserConfig, tensors: BTreeMap<String, Tensor>) -> Self {
        Self { path: path.to_path_buf(), config, tensors, stored: DType::F32 }
    }

    /// Makes a frozen denoiser: [`Denoiser::frozen`].
    ///
    /// # Errors
    /// Tensors that do not match the config; latents of another shape.
    pub fn frozen(
        self,
        prediction: Prediction,
        shape: LatentShape,
        acting: SamplerConfig,
    ) -> Result<Denoiser, ModelError> {
        self.check_latents(shape)?;
        Denoiser::frozen(self.config, self.tensors, prediction, shape, acting)
    }

    /// Makes a trainable denoiser: [`Denoiser::trainable`].
    ///
    /// # Errors
    /// As [`DenoiserFiles::frozen`], and LoRA settings that match no layer.
    pub fn trainable(
        self,
        prediction: Prediction,
        shape: LatentShape,
        acting: SamplerConfig,
        training: LearnerOptions,
    ) -> Result<Denoiser, ModelError> {
        self.check_latents(shape)?;
        Denoiser::trainable(self.config, self.tensors, prediction, shape, acting, training)
    }

    /// The denoiser's own check, with the path in its message.
    fn check_latents(&self, shape: LatentShape) -> Result<(), ModelError> {
        self.config.check_latents(shape, &format!("the latents for {}", self.path.display()))
    }
}

/// Reads the `config.json` of a `unet/` or `transformer/` folder.
///
/// # Errors
/// A file that is missing or damaged; a class or setting that is not built.
pub fn read_denoiser_config(folder: &Path) -> Result<DenoiserConfig, ModelError> {
    let path = folder.join("config.json");
    DenoiserConfig::from_json(read_object(&path)?).map_err(|error| match error {
        ModelError::Config { .. } | ModelError::Architecture { .. } => ModelError::format(&path, error.to_string()),
        other => other,
    })
}

/// Loads a `unet/` or `transformer/` folder: one weight file or shards with their index, in full or half (`.fp16`) precision.
///
/// # Errors
/// A file that is missing, damaged or of another kind; a class or variant that is not built; tensors that are missing,
/// unknown, of the wrong shape or not finite.
pub fn load_denoiser(folder: &Path, device: &Device) -> Result<DenoiserFiles, ModelError> {
    let config = read_denoiser_config(folder)?;
    let expected = Expected {
        class: config.class(),
        stem: STEM,
        shapes: &config.tensor_shapes(),
        canonical: &|name| (!config.is_unused(name)).then(|| config.canonical_name(name)),
    };
    let tensors = read_tensors(folder, &expected, device)?;
    let stored = stored_type(folder, STEM)?;
    Ok(DenoiserFiles { path: folder.to_path_buf(), config, tensors, stored })
}

/// Writes a folder that diffusers loads, atomically; an existing one is replaced.
///
/// # Errors
/// Tensors that do not match `config`, a dtype that is not floating-point, an I/O error.
pub fn save_denoiser(
    folder: &Path,
    config: &DenoiserConfig,
    tensors: &BTreeMap<String, Tensor>,
    options: SaveOptions,
) -> Result<(), ModelError> {
    let staging = Staging::new(folder)?;
    write_denoiser(&staging, folder, config, tensors, options)?;
    staging.publish()
}

/// Writes a network into a staging folder for `folder`.
///
/// # Errors
/// As [`save_denoiser`].
pub(crate) fn write_denoiser(
    staging: &Staging,
    folder: &Path,
    config: &DenoiserConfig,
    tensors: &BTreeMap<String, Tensor>,
    options: SaveOptions,
) -> Result<(), ModelError> {
    compare(folder, config.class(), &config.tensor_shapes(), &shapes(tensors))?;
    staging.write("config.json", format!("{:#}\n", config.to_json()).as_bytes())?;
    write_tensors(staging, STEM, tensors, options)
}
