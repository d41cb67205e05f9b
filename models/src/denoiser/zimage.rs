//! A Z-Image transformer's config as that of a denoiser.

use super::config::DenoiserConfig;
use crate::network::{NetworkConfig, by_inherent_methods};
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

    by_inherent_methods!();
}
