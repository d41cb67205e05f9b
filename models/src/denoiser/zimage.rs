//! A Z-Image transformer's config as that of a denoiser.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use serde_json::Value;

use super::config::{DenoiserConfig, NetworkConfig};
use crate::ModelError;
use crate::zimage::{PATCH, ZImageConfig};

impl From<ZImageConfig> for DenoiserConfig {
    fn from(config: ZImageConfig) -> Self {
        Self::ZImage(config)
    }
}

impl NetworkConfig for ZImageConfig {
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
        self.in_channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        None
    }

    fn patch(&self) -> usize {
        PATCH
    }

    fn context_width(&self) -> Option<usize> {
        Some(self.context)
    }

    fn pooled_width(&self) -> Option<usize> {
        None
    }

    fn is_unconditional(&self) -> bool {
        false
    }

    fn no_guidance(&self) -> f64 {
        0.0
    }

    /// The pipeline adds the difference that guidance makes to the prediction with the caption.
    fn guidance_factor(&self, number: f64) -> f64 {
        1.0 + number
    }

    fn lora_targets(&self) -> &'static [&'static str] {
        &["to_k", "to_q", "to_v", "to_out.0"]
    }

    fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.tensor_shapes()
    }

    fn canonical_name(&self, found: &str) -> String {
        found.to_owned()
    }

    fn adaptable_layers(&self) -> Vec<AdaptableLayer> {
        self.adaptable_layers()
    }

    fn initial_tensors(&self, noise: &Noise, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
        self.initial_tensors(noise, device)
    }

    fn settings(&self) -> String {
        self.settings()
    }

    fn to_json(&self) -> Value {
        self.to_json()
    }
}
