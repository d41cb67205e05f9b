//! Checks that the components of a folder fit each other.

use serde_json::Value;

use super::DiffusersFolder;
use crate::ModelError;
use crate::clip::ClipTextConfig;
use crate::formats::component::read_config;
use crate::formats::extras::read_object;
use crate::vae::VaeConfig;

/// Compares the widths in the components' configs.
///
/// # Errors
/// Unreadable or unsupported settings, and widths that differ; the message names both sides.
pub(super) fn check(folder: &DiffusersFolder) -> Result<(), ModelError> {
    let Some(unet) = folder.component("unet") else { return Ok(()) };
    let config = read_object(&unet.path.join("config.json"))?;
    if let Some(vae) = folder.component("vae") {
        let vae = read_config(&vae.path, VaeConfig::from_json)?;
        let channels = config["in_channels"].as_u64().unwrap_or(4);
        let (latent, what) = (vae.latent_channels as u64, "unet `in_channels`");
        compare(folder, what, channels, "vae `latent_channels`", latent)?;
    }
    let mut texts = Vec::new();
    for name in ["text_encoder", "text_encoder_2"] {
        if let Some(part) = folder.component(name) {
            texts.push(read_config(&part.path, ClipTextConfig::from_json)?);
        }
    }
    let (Some(last), true) = (texts.last(), config["encoder_hid_dim"].is_null()) else { return Ok(()) };
    let width = texts.iter().map(|text| text.width as u64).sum();
    let what =
        if texts.len() == 1 { "text_encoder `hidden_size`" } else { "the sum of both text encoders' `hidden_size`" };
    for cross in cross_attention_widths(&config) {
        compare(folder, "unet `cross_attention_dim`", cross, what, width)?;
    }
    match (last.projection, config["projection_class_embeddings_input_dim"].as_u64()) {
        (Some(projection), Some(read)) if texts.len() > 1 => {
            let frequencies = config["addition_time_embed_dim"].as_u64().unwrap_or(0);
            let given = projection as u64 + 6 * frequencies;
            let what = "text_encoder_2 `projection_dim` and six times unet `addition_time_embed_dim`";
            compare(folder, "unet `projection_class_embeddings_input_dim`", read, what, given)
        }
        _ => Ok(()),
    }
}

/// One width, or one for each block.
fn cross_attention_widths(config: &Value) -> Vec<u64> {
    match &config["cross_attention_dim"] {
        Value::Array(widths) => widths.iter().filter_map(Value::as_u64).collect(),
        width => vec![width.as_u64().unwrap_or(1280)],
    }
}

fn compare(folder: &DiffusersFolder, what: &str, found: u64, other: &str, expected: u64) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    let reason = format!("its parts don't fit each other: {what} is {found}, {other} is {expected}");
    Err(ModelError::format(&folder.path, reason))
}
