//! What a DiT or PixArt transformer tells of itself.

use crate::dit::{DitConditioning, DitConfig};
use crate::network::{NetworkConfig, by_inherent_methods};

impl NetworkConfig for DitConfig {
    fn class(&self) -> &'static str {
        self.class()
    }

    fn component(&self) -> &'static str {
        "transformer"
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn out_channels(&self) -> usize {
        self.predicted()
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        Some((self.sample_size, self.sample_size))
    }

    fn patch(&self) -> usize {
        self.patch
    }

    fn context_width(&self) -> Option<usize> {
        match self.told {
            DitConditioning::Captions { width, .. } => Some(width),
            DitConditioning::Classes { .. } => None,
        }
    }

    fn pooled_width(&self) -> Option<usize> {
        None
    }

    fn n_classes(&self) -> Option<usize> {
        match self.told {
            DitConditioning::Captions { .. } => None,
            DitConditioning::Classes { n } => Some(n),
        }
    }

    fn reads_sizes(&self) -> bool {
        matches!(self.told, DitConditioning::Captions { has_sizes: true, .. })
    }

    fn predicts_variance(&self) -> bool {
        self.predicts_variance()
    }

    fn lora_targets(&self) -> &'static [&'static str] {
        &["to_k", "to_q", "to_v", "to_out.0"]
    }

    fn is_unused(&self, found: &str) -> bool {
        Self::is_unused(found)
    }

    by_inherent_methods!();
}
