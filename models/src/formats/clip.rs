//! CLIP in transformers' format: `config.json` and `model.safetensors` of its text half, or of both halves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engine::transfer::to_host;
use serde_json::{Value, json};

use super::component::{Expected, read_config, read_tensors};
use super::extras::read_object;
use super::load_clip_tokenizer;
use crate::ModelError;
use crate::clip::{ClipNormalisation, ClipScore, ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, halves};

/// The name of its weights.
pub(super) const STEM: &str = "model";
/// The class of a whole CLIP.
const WHOLE: &str = "CLIPModel";
/// The code of bicubic resampling in config files.
const BICUBIC: u64 = 3;

/// Loads a text encoder from a folder of `config.json` and `model.safetensors`.
///
/// # Errors
/// Files that are missing or damaged, another class of model, tensors that do not match the config.
pub fn load_clip_text(folder: &Path, device: &Device) -> Result<ClipText, ModelError> {
    let (config, tensors) = read_clip_text(folder, device)?;
    ClipText::new(config, tensors)
}

/// Reads a text encoder's config and tensors.
///
/// # Errors
/// As [`load_clip_text`].
pub(super) fn read_clip_text(
    folder: &Path,
    device: &Device,
) -> Result<(ClipTextConfig, BTreeMap<String, Tensor>), ModelError> {
    let config = read_config(folder, ClipTextConfig::from_json)?;
    let tensors = read_text_half(&config, folder, device)?;
    Ok((config, tensors))
}

/// Reads the text half of a text encoder's folder or a whole CLIP's.
fn read_text_half(
    config: &ClipTextConfig,
    folder: &Path,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let shapes = config.tensor_shapes();
    let canonical = |stored: &str| config.canonical_name(stored);
    let expected = Expected { class: config.class(), stem: STEM, shapes: &shapes, canonical: &canonical };
    read_tensors(folder, &expected, device)
}

/// Loads the vision half of a whole CLIP's folder.
fn load_vision_half(config: ClipVisionConfig, folder: &Path, device: &Device) -> Result<ClipVision, ModelError> {
    let shapes = config.tensor_shapes();
    let canonical = ClipVisionConfig::canonical_name;
    let expected = Expected { class: WHOLE, stem: "model", shapes: &shapes, canonical: &canonical };
    let tensors = read_tensors(folder, &expected, device)?;
    ClipVision::new(config, tensors)
}

/// Whether the `config.json` in a folder is that of a whole CLIP.
pub fn is_clip_score(folder: &Path) -> bool {
    read_config(folder, |source| Ok(source["model_type"] == "clip")).unwrap_or(false)
}

/// Loads a whole CLIP from a folder of `config.json`, weights, tokenizer and an optional `preprocessor_config.json`.
///
/// # Errors
/// Files that are missing or damaged, another class of model, tensors that do not match the config, preprocessing other
/// than CLIP's.
pub fn load_clip_score(folder: &Path, device: &Device) -> Result<ClipScore, ModelError> {
    let (text, vision) = read_config(folder, halves)?;
    let normalisation = preprocessing(folder, vision.image_size)?;
    let tokenizer = load_clip_tokenizer(folder)?;
    let tensors = read_text_half(&text, folder, device)?;
    let text = ClipText::new(text, tensors)?;
    let vision = load_vision_half(vision, folder, device)?;
    ClipScore::new(tokenizer, text, vision, normalisation, logit_scale(folder)?.exp())
}

/// The preprocessing file and its contents; empty if there is none.
fn read_preprocessing(folder: &Path) -> Result<(PathBuf, Value), ModelError> {
    let [own, shared] = ["preprocessor_config.json", "processor_config.json"].map(|name| folder.join(name));
    if own.is_file() {
        let settings = read_object(&own)?;
        return Ok((own, settings));
    }
    if shared.is_file() {
        let settings = read_object(&shared)?["image_processor"].take();
        return Ok((shared, settings));
    }
    Ok((own, Value::Null))
}

/// Channel means and deviations; checks that the preprocessing produces the encoder's pictures.
fn preprocessing(folder: &Path, image_size: usize) -> Result<ClipNormalisation, ModelError> {
    let (path, settings) = read_preprocessing(folder)?;
    let wrong = |key: &str, expected: &str| {
        let reason = format!("`{key}` is {}; {expected}", settings[key]);
        ModelError::format(&path, reason)
    };
    for key in ["do_resize", "do_center_crop", "do_rescale", "do_normalize"] {
        if settings[key] == json!(false) {
            return Err(wrong(key, "CLIP's own preprocessing is what is done here"));
        }
    }
    if !settings["resample"].is_null() && settings["resample"] != json!(BICUBIC) {
        return Err(wrong("resample", "3 (bicubic) is what is done here"));
    }
    for (key, sides) in [("size", ["shortest_edge", "shortest_edge"]), ("crop_size", ["height", "width"])] {
        let given = &settings[key];
        let is_other = |value: &Value| !value.is_null() && value.as_u64() != Some(image_size as u64);
        let wrong_side = sides.iter().any(|side| is_other(&given[side])) || (!given.is_object() && is_other(given));
        if wrong_side || (given.is_object() && given[sides[0]].is_null()) {
            let side = sides[0];
            return Err(wrong(key, &format!("`{side}` of {image_size} is expected, as the encoder reads images")));
        }
    }
    let usual = ClipNormalisation::default();
    let channels = |key: &str, usual: [f32; 3]| {
        if settings[key].is_null() {
            return Ok(usual);
        }
        let given: Option<[f32; 3]> = serde_json::from_value(settings[key].clone()).ok();
        given
            .filter(|given| given.iter().all(|v| v.is_finite()))
            .ok_or_else(|| wrong(key, "three numbers are expected"))
    };
    let (mean, deviation) = (channels("image_mean", usual.mean)?, channels("image_std", usual.deviation)?);
    if deviation.iter().any(|deviation| *deviation <= 0.0) {
        return Err(wrong("image_std", "positive numbers are expected"));
    }
    Ok(ClipNormalisation { mean, deviation })
}

/// The factor of the cosine.
fn logit_scale(folder: &Path) -> Result<f64, ModelError> {
    const NAME: &str = "logit_scale";
    let shapes = BTreeMap::from([(NAME.to_owned(), Vec::new())]);
    let canonical = |stored: &str| (stored == NAME).then(|| NAME.to_owned());
    let expected = Expected { class: WHOLE, stem: "model", shapes: &shapes, canonical: &canonical };
    let tensors = read_tensors(folder, &expected, &Device::Cpu)?;
    let scale = tensors.get(NAME).map(to_host::<f32>).transpose()?.and_then(|scale| scale.first().copied());
    Ok(f64::from(scale.unwrap_or_default()))
}
