//! UNets against diffusers and torch (`tests/golden/unet.py` made the numbers), and the laws of every network.
use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;
use serde_json::Value;

use crate::denoiser::DenoiserConfig;
use crate::tests::{self, Golden};
use crate::unet::{ImageBatch, UNetConfig};

pub(super) use crate::tests::{flat, rows};

pub(super) const GOLDEN: Golden =
    Golden { family: "unet", cases: &["sd1", "sd2", "sdxl", "ddpm", "ddpm_resnet", "ddpm_resnet_up"], is_idle };

/// Softmax is invariant to a bias of keys.
fn is_idle(_: &DenoiserConfig, name: &str) -> bool {
    name.ends_with("to_k.bias")
}

/// A UNet as read from its folder.
pub(super) struct UNetFiles {
    pub(super) config: UNetConfig,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

impl UNetFiles {
    /// Its config as one of any family.
    pub(super) fn any(&self) -> DenoiserConfig {
        self.config.clone().into()
    }
}

pub(super) fn folder(case: &str) -> PathBuf {
    GOLDEN.folder(case)
}

pub(super) fn files(case: &str) -> UNetFiles {
    let (DenoiserConfig::UNet(config), tensors) = GOLDEN.files(case) else { panic!("{case} is no UNet") };
    UNetFiles { config, tensors }
}

pub(super) fn expected(case: &str) -> Value {
    GOLDEN.expected(case)
}

pub(super) fn batch(config: &UNetConfig, call: &Value) -> ImageBatch {
    tests::batch(&config.clone().into(), call)
}

tests::every_case!(GOLDEN);

#[test]
fn gradients_are_those_of_finite_differences() {
    tests::check_finite_differences(&GOLDEN, "sd1", 7);
}

#[test]
fn adapters_learn_and_nothing_else_does() {
    let targets = ["to_q", "to_v", "conv1", "conv_shortcut", "proj_in", "downsamplers.0.conv", "linear_1"];
    tests::check_adapters(&GOLDEN, "sd1", &targets);
}
