//! Adapters of the CLIP text encoders that a file holds beside the network's.

use std::collections::BTreeMap;

use candle_core::Tensor;
use engine::lora::merged_weight;
use engine::ops::WeightLayout;
use engine::transfer::to_host;

use super::names::{TensorRole, factor};
use super::original::underscored;
use super::{DenoiserLora, check_fits};
use crate::ModelError;
use crate::formats::LoraLayer;

/// What stands before the layers of each encoder, by kohya's scripts and by diffusers.
const PREFIXES: [(&str, &str); 5] = [
    ("lora_te_", "text_encoder"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("text_encoder.", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
];
/// The prefix of CLIP's layers, which our names are without.
const MODEL: &str = "text_model_";
/// The factors in kohya's files.
const ENDS: [(&str, TensorRole); 3] =
    [(".lora_down.weight", TensorRole::A), (".lora_up.weight", TensorRole::B), (".alpha", TensorRole::Alpha)];

/// The encoder, the layer and the role of a tensor; the layer's path is underscored. `None` for a tensor of no encoder.
///
/// # Errors
/// An encoder or a tensor that is not supported; the reason.
pub(super) fn parse(name: &str) -> Result<Option<(&'static str, String, TensorRole)>, String> {
    if name.starts_with("lora_te3_") || name.starts_with("text_encoder_3.") || name.starts_with("text_encoders.") {
        return Err("adapters of T5's text encoder are not supported, nor is this spelling of CLIP's".to_owned());
    }
    let Some((path, component)) = PREFIXES.iter().find_map(|(prefix, to)| Some((name.strip_prefix(prefix)?, *to)))
    else {
        return Ok(None);
    };
    let kohya = ENDS.iter().find_map(|(end, role)| Some((path.strip_suffix(end)?, *role)));
    let found = if kohya.is_some() { kohya } else { factor(path)? };
    let Some((layer, role)) = found else { return Err("not a tensor of a LoRA adapter".to_owned()) };
    if matches!(role, TensorRole::Bias | TensorRole::Magnitude) {
        let reason =
            "DoRA and biases (`lora_bias`) of a text encoder are not supported; diffusers leaves its magnitudes out";
        return Err(reason.to_owned());
    }
    let layer = underscored(layer);
    Ok(Some((component, layer.strip_prefix(MODEL).unwrap_or(&layer).to_owned(), role)))
}

impl DenoiserLora {
    /// Merges the adapters of a text encoder into its weights.
    ///
    /// # Errors
    /// A layer that the encoder does not have, or of another shape.
    pub(crate) fn merge_text(&self, component: &str, tensors: &mut BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let Some(layers) = self.texts.get(component) else { return Ok(()) };
        let places: BTreeMap<String, String> = tensors
            .keys()
            .filter_map(|name| {
                let layer = underscored(name.strip_suffix(".weight")?);
                Some((layer.strip_prefix(MODEL).unwrap_or(&layer).to_owned(), name.clone()))
            })
            .collect();
        for (layer, adapter) in layers {
            let wrong = |reason: String| ModelError::tensor(&self.path, format!("{component} {layer}"), reason);
            let weight = places.get(layer).and_then(|name| tensors.get_mut(name));
            let Some(weight) = weight else { return Err(wrong("the encoder has no such layer".to_owned())) };
            check_fits(adapter, weight.dims()).map_err(wrong)?;
            *weight = merged(weight, adapter)?;
        }
        Ok(())
    }

    /// A hash of the adapters of a text encoder, if there are any.
    ///
    /// # Errors
    /// Tensors that can't be copied to the host.
    pub(crate) fn text_fingerprint(&self, component: &str) -> Result<Option<String>, ModelError> {
        let Some(layers) = self.texts.get(component) else { return Ok(None) };
        let mut hasher = blake3::Hasher::new();
        for (name, layer) in layers {
            hasher.update(format!("{name} {} {:?} {:?}\n", layer.scale, layer.a.dims(), layer.b.dims()).as_bytes());
            for tensor in [&layer.a, &layer.b] {
                for value in to_host::<f32>(tensor)? {
                    hasher.update(&value.to_le_bytes());
                }
            }
        }
        Ok(Some(hasher.finalize().to_hex().to_string()))
    }
}

fn merged(weight: &Tensor, layer: &LoraLayer) -> Result<Tensor, ModelError> {
    // A folder's weights are read into this process's memory, whatever the adapters' device.
    let weight_of_adapter = weight.to_device(layer.a.device())?.to_dtype(layer.a.dtype())?;
    let merged = merged_weight(&weight_of_adapter, WeightLayout::OutIn, layer.adapter())?;
    Ok(merged.to_dtype(weight.dtype())?.to_device(weight.device())?)
}
