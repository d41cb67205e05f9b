//! The names under which diffusers and PEFT have kept the tensors of adapters.

use std::collections::BTreeMap;

use crate::unet::UNetConfig;

/// What diffusers puts before the name of a UNet's module.
pub(super) const PREFIX: &str = "unet.";
/// What PEFT puts there.
const PEFT_PREFIX: &str = "base_model.model.";

/// Which part of its layer's adapter a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    A,
    B,
    Alpha,
    /// No part of an adapter: it takes the place of the base's tensor of this name.
    Replaced,
}

/// PEFT's marks of the two factors.
const MARKS: [(&str, Part); 2] = [(".lora_A.", Part::A), (".lora_B.", Part::B)];

/// The ends of other names: diffusers', those of attention processors, and an alpha.
const ENDS: [(&str, Part); 5] = [
    (".lora.down.weight", Part::A),
    (".lora.up.weight", Part::B),
    ("_lora.down.weight", Part::A),
    ("_lora.up.weight", Part::B),
    (".alpha", Part::Alpha),
];

/// Parts of names that say that the tensor is of something that is not built, and what to do.
const OTHERS: [(&str, &str); 10] = [
    ("text_encoder", "adapters of a text encoder are not supported; only the UNet's are"),
    ("lora_te", "a file of kohya's scripts; load it with diffusers and save it again"),
    ("lora_unet_", "a file of kohya's scripts; load it with diffusers and save it again"),
    ("transformer.", "adapters of a transformer are not supported; only a UNet's are"),
    ("lora_magnitude_vector", "DoRA is not supported"),
    ("dora_scale", "DoRA is not supported"),
    ("lora_embedding_", "adapters of embeddings are not supported"),
    ("lokr_", "LoKr is not supported; only LoRA is"),
    ("hada_", "LoHa is not supported; only LoRA is"),
    ("custom_diffusion", "custom diffusion is not supported; only LoRA is"),
];

/// Whether a tensor of PEFT's own file has a name that PEFT reads.
///
/// # Errors
/// It hasn't; the reason.
pub(super) fn check_pefts(name: &str) -> Result<(), String> {
    if name.starts_with(PEFT_PREFIX) {
        return Ok(());
    }
    Err(format!("its name does not begin with `{PEFT_PREFIX}`, so peft would leave it out"))
}

/// The layer that a tensor belongs to, and which part of its adapter it is; for [`Part::Replaced`] the whole name of the
/// tensor that it replaces. `shapes` are the model's tensors.
///
/// # Errors
/// A tensor of something else than a UNet's LoRA; the reason.
pub(super) fn parse(
    name: &str,
    config: &UNetConfig,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<(String, Part), String> {
    let is_kind = |mark: &str| match mark {
        // A module of a UNet may have these in its name, further in.
        "text_encoder" | "lora_te" | "lora_unet_" | "transformer." => name.starts_with(mark),
        _ => name.contains(mark),
    };
    if let Some((_, reason)) = OTHERS.iter().find(|(mark, _)| is_kind(mark)) {
        return Err((*reason).to_owned());
    }
    let path = [PREFIX, PEFT_PREFIX].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if let Some((layer, part)) = factor(path)? {
        return Ok((layer_name(layer, config), part));
    }
    let plain = path.replace(".modules_to_save.default", "").replace(".base_layer", "");
    let plain = config.canonical_name(&plain);
    if shapes.contains_key(&plain) {
        return Ok((plain, Part::Replaced));
    }
    Err("not a tensor of a LoRA adapter, nor one of the model's".to_owned())
}

/// The layer and the part of a factor's name, if it is one.
fn factor(path: &str) -> Result<Option<(&str, Part)>, String> {
    for (mark, part) in MARKS {
        let Some((layer, rest)) = path.split_once(mark) else { continue };
        // A state as it is in memory has the adapter's name there.
        match rest.split_once('.').map_or(rest, |(_, end)| end) {
            "weight" => return Ok(Some((layer, part))),
            "bias" => return Err("a bias of its own in LoRA (lora_bias) is not supported".to_owned()),
            _ => return Err("not a tensor of a LoRA adapter".to_owned()),
        }
    }
    Ok(ENDS.iter().find_map(|(end, part)| Some((path.strip_suffix(end)?, *part))))
}

/// The name of a layer as the model has it.
fn layer_name(stored: &str, config: &UNetConfig) -> String {
    let layer = stored.replace(".processor.", ".");
    let canonical = config.canonical_name(&format!("{layer}.weight"));
    let layer = canonical.strip_suffix(".weight").unwrap_or(&layer).to_owned();
    // Names of attention processors leave out that the output projection is a list.
    if layer.ends_with(".to_out") { format!("{layer}.0") } else { layer }
}
