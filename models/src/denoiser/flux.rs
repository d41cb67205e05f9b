//! A FLUX.1 transformer's config as that of a denoiser.

use super::config::DenoiserConfig;
use crate::flux::FluxConfig;
use crate::network::{NetworkConfig, by_inherent_methods};

/// The side of the training latents, which only the pipeline knows.
const SAMPLE_SIZE: usize = 128;

impl From<FluxConfig> for DenoiserConfig {
    fn from(config: FluxConfig) -> Self {
        Self::Flux(config)
    }
}

impl NetworkConfig for FluxConfig {
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
        Some((SAMPLE_SIZE, SAMPLE_SIZE))
    }

    fn patch(&self) -> usize {
        crate::flux::PATCH
    }

    fn context_width(&self) -> Option<usize> {
        Some(self.context)
    }

    fn pooled_width(&self) -> Option<usize> {
        Some(self.pooled)
    }

    fn embedded_guidance(&self) -> Option<f64> {
        self.guidance
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
            "ff.net.0.proj",
            "ff.net.2",
            "ff_context.net.0.proj",
            "ff_context.net.2",
        ]
    }

    by_inherent_methods!();
}
