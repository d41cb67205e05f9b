//! What the config of every network that denoises tells.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use engine::Noise;
use engine::lora::AdaptableLayer;
use serde_json::Value;

use crate::ModelError;

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
pub(crate) use by_inherent_methods;

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
