//! How well a picture fits a text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::{ClipText, ClipTextConfig, ClipTokenizer, ClipVision, ClipVisionConfig};
use crate::ModelError;
use crate::causal::fields::Fields;
use crate::formats::component::{Expected, read_config, read_tensors};
use crate::formats::read_object;

/// Channels' means and deviations that OpenAI's encoders were trained with, and all that came after them.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What bicubic is called in files.
const BICUBIC: u64 = 3;

/// A whole CLIP as a reward of pictures: `exp(logit_scale) cos(text, image)`, as `CLIPModel` of transformers has it in
/// its `logits_per_image`. CLIP itself, and models of its shape that learned from preferences (PickScore).
#[derive(Debug)]
pub struct ClipScore {
    tokenizer: ClipTokenizer,
    text: ClipText,
    vision: ClipVision,
    scale: f64,
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl ClipScore {
    /// Whether the `config.json` in a folder is one of a whole CLIP.
    pub fn is_folder(folder: &Path) -> bool {
        read_config(folder, |source| Ok(source["model_type"] == "clip")).unwrap_or(false)
    }

    /// Loads a folder of `config.json`, weights, tokenizer and, where there is one, `preprocessor_config.json`.
    ///
    /// # Errors
    /// Files that are missing or damaged, another class of model, tensors that are not those of the configuration, a
    /// preprocessing that is not CLIP's.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let (text, vision) = read_config(folder, halves)?;
        let (mean, deviation) = preprocessing(folder, vision.image_size)?;
        let mut tokenizer = ClipTokenizer::load(folder)?;
        if tokenizer.n_tokens() > text.vocabulary {
            let reason = format!("{} tokens, and the text encoder has {}", tokenizer.n_tokens(), text.vocabulary);
            return Err(ModelError::Tokenizer { path: tokenizer.path().to_path_buf(), reason });
        }
        tokenizer.limit(text.max_positions)?;
        Ok(Self {
            tokenizer,
            text: ClipText::load_as(text, folder, device)?,
            vision: ClipVision::load(vision, folder, device)?,
            scale: logit_scale(folder)?.exp(),
            mean,
            deviation,
        })
    }

    /// Rows and columns of a picture.
    pub fn image_size(&self) -> usize {
        self.vision.config().image_size
    }

    /// How many texts are too long for the text encoder and lose their end.
    ///
    /// # Errors
    /// The tokenizer refuses a text.
    pub fn n_truncated(&self, texts: &[&str]) -> Result<usize, ModelError> {
        Ok(self.tokenizer.encode(texts)?.n_truncated())
    }

    /// The rewards of pictures, each beside the text it is for. Equal texts are encoded once.
    ///
    /// # Shapes
    /// A picture is `[image_size, image_size, 3]`: rows, columns, channels, values from -1 to 1.
    ///
    /// # Errors
    /// A picture of another size, a text that the tokenizer refuses.
    pub fn score(&self, pictures: &[(&str, &[f32])]) -> Result<Vec<f64>, ModelError> {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut texts = Vec::new();
        for (text, _) in pictures {
            places.entry(text).or_insert_with(|| {
                texts.push(*text);
                texts.len() - 1
            });
        }
        let encoded = self.text.encode(&self.tokenizer.encode(&texts)?.ids)?;
        let images: Vec<Vec<f32>> = pictures.iter().map(|(_, values)| self.normalised(values)).collect();
        let images = self.vision.encode(&images)?;
        let rewards = pictures.iter().zip(&images).map(|((text, _), image)| {
            let text = encoded[places[text]].projected.as_deref().unwrap_or_default();
            self.scale * cosine(text, image)
        });
        Ok(rewards.collect())
    }

    fn normalised(&self, values: &[f32]) -> Vec<f32> {
        let value = |(i, value): (usize, &f32)| ((value + 1.0) / 2.0 - self.mean[i % 3]) / self.deviation[i % 3];
        values.iter().enumerate().map(value).collect()
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The shapes of both halves.
fn halves(source: &Value) -> Result<(ClipTextConfig, ClipVisionConfig), ModelError> {
    if source["model_type"] != "clip" {
        let found = source["model_type"].as_str().unwrap_or("(none)").to_owned();
        return Err(ModelError::Architecture { found, supported: "clip (CLIPModel)".to_owned() });
    }
    let projection = Fields::new(source).size("projection_dim")?.unwrap_or(512);
    // Files leave out what is as in the first CLIP. Old ones say some things twice, and transformers believes the second.
    let half = |name: &str, width: u64, inner: u64, n_heads: u64| {
        let mut half = json!({ "hidden_size": width, "intermediate_size": inner, "num_attention_heads": n_heads,
            "num_hidden_layers": 12 });
        if let (Some(half), Some(given)) = (half.as_object_mut(), given(source, name).as_object()) {
            let is_set = |(_, value): &(&String, &Value)| !value.is_null();
            half.extend(given.iter().filter(is_set).map(|(name, value)| (name.clone(), value.clone())));
        }
        half
    };
    let mut text = half("text_config", 512, 2048, 8);
    text["architectures"] = json!(["CLIPTextModelWithProjection"]);
    text["projection_dim"] = json!(projection);
    let vision = half("vision_config", 768, 3072, 12);
    Ok((ClipTextConfig::from_json(&text)?, ClipVisionConfig::from_json(&vision, projection)?))
}

/// The settings of a half: `text_config`, or `text_config_dict` in place of all of it.
fn given<'a>(source: &'a Value, name: &str) -> &'a Value {
    let second = &source[format!("{name}_dict")];
    if second.is_null() { &source[name] } else { second }
}

/// The file that says how pictures are prepared, and what it says; nothing where there is none.
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

/// Means and deviations of the channels, checked to belong to the pictures that the encoder reads.
fn preprocessing(folder: &Path, image_size: usize) -> Result<([f32; 3], [f32; 3]), ModelError> {
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
    let channels = |key: &str, usual: [f32; 3]| {
        if settings[key].is_null() {
            return Ok(usual);
        }
        let given: Option<[f32; 3]> = serde_json::from_value(settings[key].clone()).ok();
        given
            .filter(|given| given.iter().all(|v| v.is_finite()))
            .ok_or_else(|| wrong(key, "three numbers are expected"))
    };
    let (mean, deviation) = (channels("image_mean", MEAN)?, channels("image_std", DEVIATION)?);
    if deviation.iter().any(|deviation| *deviation <= 0.0) {
        return Err(wrong("image_std", "positive numbers are expected"));
    }
    Ok((mean, deviation))
}

fn logit_scale(folder: &Path) -> Result<f64, ModelError> {
    const NAME: &str = "logit_scale";
    let shapes = BTreeMap::from([(NAME.to_owned(), Vec::new())]);
    let canonical = |stored: &str| (stored == NAME).then(|| NAME.to_owned());
    let expected = Expected { class: "CLIPModel", stem: "model", shapes: &shapes, canonical: &canonical };
    let tensors = read_tensors(folder, &expected, &Device::Cpu)?;
    let scale = tensors.get(NAME).map(Tensor::to_scalar::<f32>).transpose()?;
    Ok(f64::from(scale.unwrap_or_default()))
}
