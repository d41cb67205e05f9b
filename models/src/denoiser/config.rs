//! The config of a denoiser's network, of any family.

use std::collections::BTreeMap;
use std::ops::Deref;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use mdp::diffusion::LatentShape;
use serde_json::Value;

use crate::ModelError;
use crate::dit::DitConfig;
use crate::fields::{Fields, nearest_first};
use crate::flux::FluxConfig;
use crate::sd3::Sd3Config;
use crate::unet::{UNetClass, UNetConfig};
use crate::zimage::ZImageConfig;

/// The config of a network that denoises; it derefs to what all families have in common.
#[derive(Clone, Debug, PartialEq)]
pub enum DenoiserConfig {
    /// Of a `UNet2DModel` or `UNet2DConditionModel`.
    UNet(UNetConfig),
    /// Of a `SD3Transformer2DModel`.
    Sd3(Sd3Config),
    /// Of a `FluxTransformer2DModel`.
    Flux(FluxConfig),
    /// Of a `ZImageTransformer2DModel`.
    ZImage(ZImageConfig),
    /// Of a `PixArtTransformer2DModel` or `DiTTransformer2DModel`.
    Dit(DitConfig),
}

/// The part of [`NetworkConfig`] that each family has as methods of its own, beside what they need.
macro_rules! by_inherent_methods {
    () => {
        fn tensor_shapes(&self) -> std::collections::BTreeMap<String, Vec<usize>> {
            self.tensor_shapes()
        }

        fn adaptable_layers(&self) -> Vec<engine::lora::AdaptableLayer> {
            self.adaptable_layers()
        }

        fn initial_tensors(
            &self,
            noise: &engine::Noise,
            device: &candle_core::Device,
        ) -> Result<std::collections::BTreeMap<String, candle_core::Tensor>, $crate::ModelError> {
            self.initial_tensors(noise, device)
        }

        fn settings(&self) -> String {
            self.settings()
        }

        fn to_json(&self) -> serde_json::Value {
            self.to_json()
        }
    };
}
pub(super) use by_inherent_methods;

/// The settings that every network that denoises has.
pub trait NetworkConfig {
    /// Its class in diffusers.
    fn class(&self) -> &'static str;

    /// The name of its folder in a pipeline, and of its adapters' tensors in diffusers' files.
    fn component(&self) -> &'static str;

    /// Channels of its input.
    fn in_channels(&self) -> usize;

    /// Channels of its prediction.
    fn out_channels(&self) -> usize;

    /// Height and width of the training latents, if the file has them.
    fn sample_size(&self) -> Option<(usize, usize)>;

    /// The side of the squares of pixels that are one row of its attention.
    fn patch(&self) -> usize;

    /// Width of a caption's hidden states, if it attends to them.
    fn context_width(&self) -> Option<usize>;

    /// Width of a pooled caption, if it uses one.
    fn pooled_width(&self) -> Option<usize>;

    /// The number of classes, if it is told the class of an image.
    fn n_classes(&self) -> Option<usize> {
        None
    }

    /// Whether it is told the height and width of an image beside a caption without a pooled one.
    fn reads_sizes(&self) -> bool {
        false
    }

    /// Whether it predicts a variance too, which is dropped.
    fn predicts_variance(&self) -> bool {
        false
    }

    /// Whether it needs no caption.
    fn is_unconditional(&self) -> bool {
        false
    }

    /// The guidance that it is told of as a number, if it was distilled to be told.
    fn embedded_guidance(&self) -> Option<f64> {
        None
    }

    /// The number by which its pipeline means no classifier-free guidance.
    fn no_guidance(&self) -> f64 {
        1.0
    }

    /// The factor of classifier-free guidance, 1 for none, that its pipeline means by a number.
    fn guidance_factor(&self, number: f64) -> f64 {
        number
    }

    /// The layers that diffusers' training scripts adapt.
    fn lora_targets(&self) -> &'static [&'static str];

    /// Every tensor with its shape in memory, under its diffusers name.
    fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>>;

    /// The canonical name of a tensor in a file.
    fn canonical_name(&self, found: &str) -> String {
        found.to_owned()
    }

    /// Whether a tensor in a file is no part of the network, and left out.
    fn is_unused(&self, _found: &str) -> bool {
        false
    }

    /// The layers that can get an adapter.
    fn adaptable_layers(&self) -> Vec<AdaptableLayer>;

    /// Random initial tensors; each depends on the seed and its name only.
    ///
    /// # Errors
    /// The device is out of memory; a setting that they need is missing.
    fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError>;

    /// All settings that affect the output, as text for a fingerprint.
    fn settings(&self) -> String;

    /// The contents of its `config.json`.
    fn to_json(&self) -> Value;
}

impl DenoiserConfig {
    /// The classes that are built.
    pub const CLASSES: [&'static str; 7] = [
        "UNet2DModel",
        "UNet2DConditionModel",
        Sd3Config::CLASS,
        FluxConfig::CLASS,
        ZImageConfig::CLASS,
        DitConfig::PIXART,
        DitConfig::DIT,
    ];

    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// A class that is not built, named with the nearest that are; settings that are missing, invalid or not supported.
    pub fn from_json(source: Value) -> Result<Self, ModelError> {
        let found = Fields::new(&source).required_text("_class_name")?;
        match found.as_str() {
            "UNet2DModel" | "UNet2DConditionModel" => UNetConfig::from_json(source).map(Self::UNet),
            Sd3Config::CLASS => Sd3Config::from_json(source).map(Self::Sd3),
            FluxConfig::CLASS => FluxConfig::from_json(source).map(Self::Flux),
            ZImageConfig::CLASS => ZImageConfig::from_json(source).map(Self::ZImage),
            DitConfig::PIXART | DitConfig::DIT | DitConfig::EITHER => DitConfig::from_json(source).map(Self::Dit),
            _ => Err(ModelError::Architecture { supported: Self::nearest(&found), found }),
        }
    }

    /// The name of a class's folder in a pipeline; `None` for a class that is not built.
    pub(crate) fn component_of(class: &str) -> Option<&'static str> {
        match class {
            "UNet2DModel" | "UNet2DConditionModel" => Some("unet"),
            Sd3Config::CLASS
            | FluxConfig::CLASS
            | ZImageConfig::CLASS
            | DitConfig::PIXART
            | DitConfig::DIT
            | DitConfig::EITHER => Some("transformer"),
            _ => None,
        }
    }

    /// Sets the guidance that the network is told of as a number; without effect on networks that are told of none.
    ///
    /// # Errors
    /// A number that is not finite or below 0.
    pub fn with_guidance(self, guidance: f64) -> Result<Self, ModelError> {
        match self {
            Self::Flux(config) => config.with_guidance(guidance).map(Self::Flux),
            other @ (Self::UNet(_) | Self::Sd3(_) | Self::ZImage(_) | Self::Dit(_)) => Ok(other),
        }
    }

    /// The classes that are built, those nearest to a name first.
    pub(crate) fn nearest(found: &str) -> String {
        nearest_first(found, &Self::CLASSES)
    }

    /// Checks the shape of latents; `what` names them in messages.
    pub(crate) fn check_latents(&self, shape: LatentShape, what: &str) -> Result<(), ModelError> {
        let wrong = |expected: String, got: String| Err(ModelError::Argument { what: what.to_owned(), expected, got });
        let channels = (self.in_channels(), self.out_channels());
        if channels != (shape.channels, shape.channels) {
            let expected = format!("{} channels in and {} out", channels.0, channels.1);
            return wrong(expected, format!("{} channels", shape.channels));
        }
        let patch = self.patch();
        if patch > 1 && !(shape.height.is_multiple_of(patch) && shape.width.is_multiple_of(patch)) {
            return wrong(format!("height and width in multiples of {patch}, its patches"), shape.to_string());
        }
        Ok(())
    }
}

impl Deref for DenoiserConfig {
    type Target = dyn NetworkConfig;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::UNet(config) => config,
            Self::Sd3(config) => config,
            Self::Flux(config) => config,
            Self::ZImage(config) => config,
            Self::Dit(config) => config,
        }
    }
}

impl From<UNetConfig> for DenoiserConfig {
    fn from(config: UNetConfig) -> Self {
        Self::UNet(config)
    }
}

impl From<Sd3Config> for DenoiserConfig {
    fn from(config: Sd3Config) -> Self {
        Self::Sd3(config)
    }
}

impl From<DitConfig> for DenoiserConfig {
    fn from(config: DitConfig) -> Self {
        Self::Dit(config)
    }
}

impl NetworkConfig for UNetConfig {
    fn class(&self) -> &'static str {
        self.class.name()
    }

    fn component(&self) -> &'static str {
        "unet"
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        self.sample_size
    }

    fn patch(&self) -> usize {
        1
    }

    fn context_width(&self) -> Option<usize> {
        self.context_width()
    }

    fn pooled_width(&self) -> Option<usize> {
        self.pooled_width()
    }

    fn is_unconditional(&self) -> bool {
        self.class == UNetClass::Unconditional
    }

    fn lora_targets(&self) -> &'static [&'static str] {
        &["to_k", "to_q", "to_v", "to_out.0"]
    }

    fn canonical_name(&self, found: &str) -> String {
        self.canonical_name(found)
    }

    by_inherent_methods!();
}

impl NetworkConfig for Sd3Config {
    fn class(&self) -> &'static str {
        Self::CLASS
    }

    fn component(&self) -> &'static str {
        "transformer"
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn out_channels(&self) -> usize {
        self.out_channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        self.sample_size.map(|size| (size, size))
    }

    fn patch(&self) -> usize {
        self.patch
    }

    fn context_width(&self) -> Option<usize> {
        Some(self.context)
    }

    fn pooled_width(&self) -> Option<usize> {
        Some(self.pooled)
    }

    fn lora_targets(&self) -> &'static [&'static str] {
        &[
            "attn.add_k_proj",
            "attn.add_q_proj",
            "attn.add_v_proj",
            "attn.to_add_out",
            "attn.to_k",
            "attn.to_out.0",
            "attn.to_q",
            "attn.to_v",
        ]
    }

    by_inherent_methods!();
}
