//! The file that diffusers' `load_lora_weights` loads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Tensor;
use engine::lora::{LoraConfig, LoraExtra, LoraTargets, layer_of, parameter_names};
use serde_json::{Map, Value, json};

use super::source::{FILE, SETTINGS};
use crate::ModelError;
use crate::denoiser::DenoiserConfig;
use crate::formats::SaveOptions;
use crate::formats::component::to_file;
use crate::formats::save::write_described;
use crate::formats::staging::Staging;

/// Writes a folder with the file that diffusers' `load_lora_weights` loads, atomically.
///
/// `config` is the model's, `tensors` are the adapters under the names `P.lora_A.weight` and `P.lora_B.weight`; `base` is the base model's name,
/// written verbatim. All tensors go into one file of any size.
///
/// # Errors
/// No adapters, an invalid tensor name, an I/O error.
pub fn save_denoiser_lora(
    folder: &Path,
    config: &DenoiserConfig,
    base: &str,
    lora: &LoraConfig,
    tensors: &BTreeMap<String, Tensor>,
    options: SaveOptions,
) -> Result<(), ModelError> {
    let component = config.component();
    let mut layers = BTreeSet::new();
    let mut named = Vec::new();
    for (name, tensor) in tensors {
        let reason = "not an adapter's tensor; its name must end in .lora_A.weight or .lora_B.weight";
        let layer = layer_of(name).ok_or_else(|| ModelError::tensor(folder, name, reason))?;
        // The magnitudes of a convolution have the dimensions of its kernels.
        let is_convolution = tensors.get(&parameter_names(layer).0).is_some_and(|a| a.rank() == 4);
        let tensor = if name.ends_with(".lora_magnitude_vector") && is_convolution {
            tensor.reshape((1, tensor.elem_count(), 1, 1))?
        } else {
            to_file(tensor)?
        };
        layers.insert(layer);
        named.push((format!("{component}.{name}"), tensor));
    }
    if layers.is_empty() {
        return Err(ModelError::format(folder, "no adapters to write"));
    }
    let targets: Vec<&str> = match &lora.targets {
        LoraTargets::Named(names) => names.iter().map(String::as_str).collect(),
        LoraTargets::AllLinear => layers.into_iter().collect(),
    };
    let named: Vec<(&str, &Tensor)> = named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let staging = Staging::new(folder)?;
    let described = [(SETTINGS, format!("{:#}", Value::Object(written_settings(component, base, lora, &targets))))];
    write_described(&staging.path(FILE), &named, options.dtype, &described)?;
    staging.publish()
}

/// PEFT's settings as diffusers stores them in the header.
fn written_settings(component: &str, base: &str, lora: &LoraConfig, targets: &[&str]) -> Map<String, Value> {
    let (base, revision) = hub::shared(base);
    let settings = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": base,
        "bias": "none",
        "init_lora_weights": true,
        "lora_alpha": lora.alpha,
        "lora_bias": lora.extra == LoraExtra::Bias,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "target_modules": targets,
        "use_dora": lora.extra == LoraExtra::Magnitude,
        "use_rslora": lora.rslora,
    });
    let settings = settings.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value.clone()));
    let settings = settings.chain(revision.map(|revision| ("revision", Value::String(revision))));
    settings.map(|(key, value)| (format!("{component}.{key}"), value)).collect()
}
