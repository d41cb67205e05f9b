//! The denoiser as its users hold it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use engine::Gradients;
use engine::checkpoint::Keep;
use engine::ema::Ema;
use engine::lora::LoraConfig;
use engine::optim::Optimizer;
use mdp::diffusion::Level;

use super::batch::Problem;
use super::sampler::{Sampler, Sampling};
use super::{Condition, Prediction};
use crate::ModelError;
use crate::formats::{DiffusersFolder, SaveOptions, UNetFiles};
use crate::saved;
use crate::unet::UNet;

/// The size of the latents, or of the images of a model without an autoencoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

impl Shape {
    /// Numbers in all.
    pub fn size(&self) -> usize {
        self.height * self.width * self.channels
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} pixels of {} channels", self.height, self.width, self.channels)
    }
}

/// How a denoiser acts: what makes its predictions a distribution over next latents.
#[derive(Clone, Debug)]
pub struct Acting {
    /// The rule from a prediction to the next latent.
    pub sampler: Sampler,
    /// Where the last step leads: [`Level::IMAGE`], or the schedule's cleanest.
    pub last: Level,
    /// Estimated images are kept within plus and minus this. A policy that clips is for sampling: its decisions have no
    /// score.
    pub clip: Option<f64>,
    /// Classifier-free guidance: its scale, and the condition it leads away from.
    pub guidance: Option<(f64, Condition)>,
}

impl Acting {
    /// A rule that ends at the image, without clipping and guidance.
    pub fn plain(sampler: Sampler) -> Self {
        Self { sampler, last: Level::IMAGE, clip: None, guidance: None }
    }

    /// The guidance scale, 1 without guidance.
    pub(super) fn guidance(&self) -> f64 {
        self.guidance.as_ref().map_or(1.0, |(scale, _)| *scale)
    }

    pub(super) fn unguided(&self) -> Option<Condition> {
        self.guidance.as_ref().map(|(_, empty)| Arc::clone(empty))
    }

    /// The sampler on its way through a problem's timesteps.
    pub(super) fn sampling(&self, mdp: &Problem, prediction: Prediction) -> Result<Sampling, ModelError> {
        let strides = self.sampler.strides(&mdp.schedule, &mdp.timesteps, self.last);
        Sampling::new(self.sampler, prediction, strides, self.clip)
    }

    /// The same, for decisions that are to be scored.
    pub(super) fn scored_sampling(&self, mdp: &Problem, prediction: Prediction) -> Result<Sampling, ModelError> {
        let sampling = self.sampling(mdp, prediction)?;
        if self.clip.is_some() || !sampling.is_stochastic() {
            return Err(ModelError::Argument {
                what: "the sampler of a policy that is to be scored on drawn latents".into(),
                expected: "ddpm, or ddim with eta above 0, without clipping: steps that have a density".into(),
                got: format!("{:?}, clipped at {:?}", self.sampler, self.clip),
            });
        }
        Ok(sampling)
    }
}

/// What a denoiser came with and is exported with.
#[derive(Clone, Debug, Default)]
pub struct Companions {
    /// The folder whose other parts (autoencoder, text encoders, tokenizers) are written beside the network.
    pub folder: Option<DiffusersFolder>,
    /// The scheduler's file, as text.
    pub scheduler: Option<String>,
    /// What the model is called where it was found: what adapters name as their base.
    pub name: String,
    /// How the network's weights are written.
    pub save: SaveOptions,
}

/// A denoising network as a policy of the denoising problem.
///
/// Going on towards a finished image is scored by minus the summed squared error of the prediction; a drawn latent by its
/// log-density under the step's Gaussian, in nats, summed over the latent's numbers; the noise at the start, which no
/// policy decides, by 0.
///
/// # Laws
/// The numbers of a decision do not depend on the rest of the batch, to rounding.
#[derive(Debug)]
pub struct Denoiser {
    pub(super) unet: Arc<UNet>,
    pub(super) prediction: Prediction,
    pub(super) shape: Shape,
    pub(super) acting: Acting,
    pub(super) learning: Option<Learning>,
    pub(super) companions: Companions,
    pub(super) fingerprint: Mutex<Option<String>>,
}

/// How a denoiser learns.
#[derive(Debug)]
pub struct DenoiserTraining {
    /// The rule of its updates.
    pub optimizer: Box<dyn Optimizer>,
    /// Adapters to learn in place of the model's own weights.
    pub lora: Option<LoraConfig>,
    /// Where fresh adapters start from.
    pub seed: u64,
    /// Whether activations are kept for the way back or computed again.
    pub keep: Keep,
    /// The decay of an average of the weights, which is what [`policies::Persist::export`] then writes.
    pub ema: Option<f64>,
}

#[derive(Debug)]
pub(super) struct Learning {
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) gradients: Gradients,
    pub(super) keep: Keep,
    pub(super) ema: Option<Ema>,
}

impl Denoiser {
    /// A denoiser that stays as it is: a reference, something to sample from.
    ///
    /// # Errors
    /// Tensors that are missing, that no model of this shape has, or of another shape; latents of other channels.
    pub fn frozen(files: UNetFiles, prediction: Prediction, shape: Shape, acting: Acting) -> Result<Self, ModelError> {
        check_shape(&files, shape)?;
        let unet = UNet::frozen(files.config, files.tensors)?;
        Ok(Self::new(unet, prediction, shape, acting, None))
    }

    /// A denoiser that learns: all its weights, or adapters on frozen ones.
    ///
    /// # Errors
    /// As [`Denoiser::frozen`], and adapter settings that fit no layer.
    pub fn trainable(
        files: UNetFiles,
        prediction: Prediction,
        shape: Shape,
        acting: Acting,
        training: DenoiserTraining,
    ) -> Result<Self, ModelError> {
        check_shape(&files, shape)?;
        let lora = training.lora.map(|lora| (lora, training.seed));
        let unet = UNet::trainable(files.config, files.tensors, lora)?;
        let ema = training.ema.map(|decay| Ema::new(decay, &unet.parameters)).transpose()?;
        let (optimizer, gradients, keep) = (training.optimizer, Gradients::default(), training.keep);
        let learning = Learning { optimizer, gradients, keep, ema };
        Ok(Self::new(unet, prediction, shape, acting, Some(learning)))
    }

    fn new(unet: UNet, prediction: Prediction, shape: Shape, acting: Acting, learning: Option<Learning>) -> Self {
        let companions = Companions::default();
        Self { unet: Arc::new(unet), prediction, shape, acting, learning, companions, fingerprint: Mutex::default() }
    }

    /// The same with its adapters as they were left by an earlier training.
    ///
    /// # Errors
    /// Other layers or shapes than those of its adapters.
    pub fn with_adapters(mut self, adapters: &BTreeMap<String, Tensor>) -> Result<Self, ModelError> {
        saved::start_from(&self.unet.parameters, adapters)?;
        if let Some(learning) = &mut self.learning {
            let average = learning.ema.as_ref().map(|ema| Ema::new(ema.decay(), &self.unet.parameters));
            learning.ema = average.transpose()?;
        }
        self.forget_hash();
        Ok(self)
    }

    /// A copy that stays as it is now, adapters included.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn frozen_copy(&self) -> Result<Self, ModelError> {
        let copy = Self::new(self.unet.frozen_copy()?, self.prediction, self.shape, self.acting.clone(), None);
        Ok(copy.with_companions(self.companions.clone()))
    }

    /// The same, exported with these.
    #[must_use]
    pub fn with_companions(mut self, companions: Companions) -> Self {
        self.companions = companions;
        self
    }

    /// The network.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// What the network predicts.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// The size of its latents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How it acts.
    pub fn acting(&self) -> &Acting {
        &self.acting
    }

    /// The gradient gathered since the last update; `None` for a denoiser that does not learn.
    pub fn gradients(&self) -> Option<&Gradients> {
        self.learning.as_ref().map(|learning| &learning.gradients)
    }

    pub(super) fn device(&self) -> Device {
        self.unet.parameters.iter().next().map_or(Device::Cpu, |(_, tensor)| tensor.device().clone())
    }

    pub(super) fn dtype(&self) -> DType {
        self.unet.parameters.iter().next().map_or(DType::F32, |(_, tensor)| tensor.dtype())
    }

    /// A hash of the shape and all weights, computed once between updates.
    pub(super) fn hash(&self) -> Result<String, ModelError> {
        let mut known = self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{} {:?}\n", self.unet.config.to_json(), self.prediction).as_bytes());
        for (name, tensor) in self.unet.parameters.iter() {
            hasher.update(format!("{name} {:?}\n", tensor.dims()).as_bytes());
            for block in numbers(tensor)?.chunks(1 << 14) {
                let bytes: Vec<u8> = block.iter().flat_map(|number| number.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        }
        let hash = hasher.finalize().to_hex().to_string();
        *known = Some(hash.clone());
        Ok(hash)
    }

    pub(super) fn forget_hash(&mut self) {
        *self.fingerprint.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?)
}

fn check_shape(files: &UNetFiles, shape: Shape) -> Result<(), ModelError> {
    if shape.channels == files.config.in_channels && shape.channels == files.config.out_channels {
        return Ok(());
    }
    Err(ModelError::Argument {
        what: format!("the latents for {}", files.path.display()),
        expected: format!("{} channels in and {} out", files.config.in_channels, files.config.out_channels),
        got: format!("{} channels", shape.channels),
    })
}
