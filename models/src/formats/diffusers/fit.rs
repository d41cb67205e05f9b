//! Checks that the components of a folder fit each other.

use serde_json::Value;

use super::{DENOISERS, DiffusersFolder, dit};
use crate::ModelError;
use crate::clip::ClipTextConfig;
use crate::flux::FluxConfig;
use crate::formats::component::read_config;
use crate::formats::extras::read_object;
use crate::t5::T5Config;
use crate::vae::VaeConfig;
use crate::zimage::ZImageConfig;

/// Compares the widths in the components' configs.
///
/// # Errors
/// Unreadable or unsupported settings, and widths that differ; the message names both sides.
pub(super) fn check(folder: &DiffusersFolder) -> Result<(), ModelError> {
    let Some((name, network)) = DENOISERS.iter().find_map(|name| Some((*name, folder.component(name)?))) else {
        return Ok(());
    };
    let config = read_object(&network.path.join("config.json"))?;
    if let Some(vae) = folder.component("vae") {
        let vae = read_config(&vae.path, VaeConfig::from_json)?;
        let channels = config["in_channels"].as_u64().unwrap_or(4);
        let (latent, what) = (vae.latent_channels as u64, format!("{name} `in_channels`"));
        if is_flux(&config) {
            compare(folder, &what, channels, "four times vae `latent_channels`", 4 * latent)?;
        } else {
            compare(folder, &what, channels, "vae `latent_channels`", latent)?;
        }
    }
    if is_flux(&config) {
        return check_flux(folder, &config);
    }
    if config["_class_name"] == ZImageConfig::CLASS {
        return check_language(folder, &config);
    }
    if let Some(config) = dit::transformer(&network.path)? {
        return check_captions(folder, config.context_width());
    }
    let mut texts = Vec::new();
    for name in ["text_encoder", "text_encoder_2"] {
        if let Some(part) = folder.component(name) {
            texts.push(read_config(&part.path, ClipTextConfig::from_json)?);
        }
    }
    if name == "transformer" { check_joint(folder, &config, &texts) } else { check_unet(folder, &config, &texts) }
}

fn is_flux(config: &Value) -> bool {
    config["_class_name"] == FluxConfig::CLASS
}

/// The text encoders of FLUX.1: CLIP's pooled state and T5's states.
fn check_flux(folder: &DiffusersFolder, config: &Value) -> Result<(), ModelError> {
    let width = |key: &str| config[key].as_u64().unwrap_or(0);
    if let Some(part) = folder.component("text_encoder") {
        let clip = read_config(&part.path, ClipTextConfig::from_json)?.width as u64;
        let (key, other) = ("pooled_projection_dim", "text_encoder `hidden_size`");
        compare(folder, &format!("transformer `{key}`"), width(key), other, clip)?;
    }
    if let Some(part) = folder.component("text_encoder_2") {
        let t5 = read_config(&part.path, T5Config::from_json)?.width as u64;
        let (key, other) = ("joint_attention_dim", "text_encoder_2 `d_model`");
        compare(folder, &format!("transformer `{key}`"), width(key), other, t5)?;
    }
    Ok(())
}

/// The language model of Z-Image.
fn check_language(folder: &DiffusersFolder, config: &Value) -> Result<(), ModelError> {
    let Some(part) = folder.component("text_encoder") else { return Ok(()) };
    let width = read_object(&part.path.join("config.json"))?["hidden_size"].as_u64().unwrap_or(0);
    let read = config["cap_feat_dim"].as_u64().unwrap_or(0);
    compare(folder, "transformer `cap_feat_dim`", read, "text_encoder `hidden_size`", width)
}

/// The text encoder of PixArt: the width of its states is that of the captions which the transformer reads.
fn check_captions(folder: &DiffusersFolder, read: Option<usize>) -> Result<(), ModelError> {
    let (Some(read), Some(part)) = (read, folder.component("text_encoder")) else { return Ok(()) };
    let width = read_config(&part.path, T5Config::from_json)?.width as u64;
    compare(folder, "transformer `caption_channels`", read as u64, "text_encoder `d_model`", width)
}

/// The text encoders of Stable Diffusion 3: their hidden states fit into the width of the third one's, and their pooled
/// states are joined.
fn check_joint(folder: &DiffusersFolder, config: &Value, texts: &[ClipTextConfig]) -> Result<(), ModelError> {
    if texts.is_empty() {
        return Ok(());
    }
    let (read, width) = (config["joint_attention_dim"].as_u64().unwrap_or(0), sum(texts, |text| text.width));
    if width > read {
        let (what, other) = ("transformer `joint_attention_dim`", "the sum of both text encoders' `hidden_size`");
        compare(folder, what, read, other, width)?;
    }
    if let Some(part) = folder.component("text_encoder_3") {
        let t5 = read_config(&part.path, T5Config::from_json)?.width as u64;
        compare(folder, "transformer `joint_attention_dim`", read, "text_encoder_3 `d_model`", t5)?;
    }
    let (what, other) = ("transformer `pooled_projection_dim`", "the sum of both text encoders' `projection_dim`");
    let pooled = sum(texts, |text| text.projection.unwrap_or(0));
    compare(folder, what, config["pooled_projection_dim"].as_u64().unwrap_or(0), other, pooled)
}

fn sum(texts: &[ClipTextConfig], width: impl Fn(&ClipTextConfig) -> usize) -> u64 {
    texts.iter().map(|text| width(text) as u64).sum()
}

fn check_unet(folder: &DiffusersFolder, config: &Value, texts: &[ClipTextConfig]) -> Result<(), ModelError> {
    let (Some(last), true) = (texts.last(), config["encoder_hid_dim"].is_null()) else { return Ok(()) };
    let width = sum(texts, |text| text.width);
    let what =
        if texts.len() == 1 { "text_encoder `hidden_size`" } else { "the sum of both text encoders' `hidden_size`" };
    for cross in cross_attention_widths(config) {
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
