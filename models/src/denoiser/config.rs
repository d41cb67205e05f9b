//! The config of a denoiser's network, of any family.

use std::ops::Deref;

use mdp::diffusion::LatentShape;
use serde_json::Value;

use super::external::ExternalDenoiserConfig;
use crate::ModelError;
use crate::dit::DitConfig;
use crate::fields::{Fields, nearest_first};
use crate::flux::FluxConfig;
use crate::network::{NetworkConfig, by_inherent_methods};
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
    /// Of a network that another library computes.
    External(ExternalDenoiserConfig),
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
            other @ (Self::UNet(_) | Self::Sd3(_) | Self::ZImage(_) | Self::Dit(_) | Self::External(_)) => Ok(other),
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
            Self::External(config) => config,
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

impl From<ExternalDenoiserConfig> for DenoiserConfig {
    fn from(config: ExternalDenoiserConfig) -> Self {
        Self::External(config)
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
