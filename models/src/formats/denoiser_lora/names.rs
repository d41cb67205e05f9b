//! Names of adapter tensors in diffusers and PEFT, current and older.

use std::collections::BTreeMap;

use crate::denoiser::DenoiserConfig;

/// diffusers' prefixes of the modules of networks.
pub(super) const PREFIXES: [&str; 2] = ["unet.", "transformer."];
/// PEFT's prefix of modules.
const PEFT_PREFIX: &str = "base_model.model.";

/// The role of a tensor in its layer's adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TensorRole {
    A,
    B,
    /// The bias beside B.
    Bias,
    /// DoRA's magnitudes.
    Magnitude,
    Alpha,
    /// Not a factor: it replaces the base's tensor of this name.
    Replaced,
}

/// PEFT's infixes of the two factors.
const MARKS: [(&str, TensorRole); 2] = [(".lora_A.", TensorRole::A), (".lora_B.", TensorRole::B)];

/// Suffixes of other spellings: kohya's, diffusers', those of attention processors, and an alpha.
const ENDS: [(&str, TensorRole); 8] = [
    (".lora_down.weight", TensorRole::A),
    (".lora_up.weight", TensorRole::B),
    (".lora.down.weight", TensorRole::A),
    (".lora.up.weight", TensorRole::B),
    (".lora.up.bias", TensorRole::Bias),
    ("_lora.down.weight", TensorRole::A),
    ("_lora.up.weight", TensorRole::B),
    (".alpha", TensorRole::Alpha),
];

/// Name components of unsupported adapters, and what to do about them.
const OTHERS: [(&str, &str); 9] = [
    (".processor.qkv_lora", "a file of x-flux; load it with diffusers and save it again"),
    (".processor.proj_lora", "a file of x-flux; load it with diffusers and save it again"),
    ("query_norm.scale", "adapters that also replace norms (FLUX.1 control) are not supported"),
    ("key_norm.scale", "adapters that also replace norms (FLUX.1 control) are not supported"),
    ("dora_scale", "DoRA of kohya's and other scripts (dora_scale) is not supported, nor read by diffusers; peft's is"),
    ("lora_embedding_", "adapters of embeddings are not supported"),
    ("lokr_", "LoKr is not supported; only LoRA is"),
    ("hada_", "LoHa is not supported; only LoRA is"),
    ("custom_diffusion", "custom diffusion is not supported; only LoRA is"),
];

/// Checks that PEFT reads a tensor of this name in its own file.
///
/// # Errors
/// It does not; the reason.
pub(super) fn check_pefts(name: &str) -> Result<(), String> {
    if name.starts_with(PEFT_PREFIX) {
        return Ok(());
    }
    Err(format!("its name does not begin with `{PEFT_PREFIX}`, so peft would leave it out"))
}

/// Refuses a tensor of an adapter that is not LoRA's.
///
/// # Errors
/// The kind of adapter.
pub(super) fn refuse(name: &str) -> Result<(), String> {
    match OTHERS.iter().find(|(mark, _)| name.contains(mark)) {
        Some((_, reason)) => Err((*reason).to_owned()),
        None => Ok(()),
    }
}

/// The layer of a tensor and its role in the adapter; for [`TensorRole::Replaced`] the full name of the replaced tensor.
/// `shapes` are the model's tensors.
///
/// # Errors
/// A tensor of something other than this network's LoRA; the reason.
pub(super) fn parse(
    name: &str,
    config: &DenoiserConfig,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<(String, TensorRole), String> {
    let component = config.component();
    if let Some(other) = PREFIXES.iter().find(|prefix| name.starts_with(**prefix) && !prefix.starts_with(component)) {
        let (other, class) = (other.trim_end_matches('.'), config.class());
        return Err(format!("an adapter of a {other}, and the model is a {class}"));
    }
    let own = format!("{component}.");
    let path = [own.as_str(), PEFT_PREFIX].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if let Some((layer, part)) = factor(path)? {
        return Ok((layer_name(layer, config), part));
    }
    let plain = path.replace(".modules_to_save.default", "").replace(".base_layer", "");
    let plain = config.canonical_name(&plain);
    if shapes.contains_key(&plain) {
        return Ok((plain, TensorRole::Replaced));
    }
    Err("not a tensor of a LoRA adapter, nor one of the model's".to_owned())
}

/// The layer and role of a factor by its name, if it is one.
pub(super) fn factor(path: &str) -> Result<Option<(&str, TensorRole)>, String> {
    if let Some((layer, "" | ".weight" | ".default" | ".default.weight")) = path.split_once(".lora_magnitude_vector") {
        return Ok(Some((layer, TensorRole::Magnitude)));
    }
    for (mark, part) in MARKS {
        let Some((layer, rest)) = path.split_once(mark) else { continue };
        // An in-memory state dict has the adapter's name there.
        match rest.split_once('.').map_or(rest, |(_, end)| end) {
            "weight" => return Ok(Some((layer, part))),
            "bias" if part == TensorRole::B => return Ok(Some((layer, TensorRole::Bias))),
            _ => return Err("not a tensor of a LoRA adapter".to_owned()),
        }
    }
    Ok(ENDS.iter().find_map(|(end, part)| Some((path.strip_suffix(end)?, *part))))
}

/// The name of a layer in the model.
fn layer_name(stored: &str, config: &DenoiserConfig) -> String {
    let layer = stored.replace(".processor.", ".");
    let canonical = config.canonical_name(&format!("{layer}.weight"));
    let layer = canonical.strip_suffix(".weight").unwrap_or(&layer).to_owned();
    // Attention-processor names omit the list index of the output projection.
    if layer.ends_with(".to_out") { format!("{layer}.0") } else { layer }
}
