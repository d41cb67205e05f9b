//! CLIP scores: the match between a picture and a text.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ClipText, ClipTextConfig, ClipTokenizer, ClipVision, ClipVisionConfig};
use crate::ModelError;
use crate::fields::Fields;

/// The channel means and deviations of OpenAI's encoders, which later ones share.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// The normalisation of a picture with values from 0 to 1: per channel `(x - mean) / deviation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipNormalisation {
    /// The channels' means.
    pub mean: [f32; 3],
    /// The channels' standard deviations.
    pub deviation: [f32; 3],
}

impl Default for ClipNormalisation {
    /// OpenAI's.
    fn default() -> Self {
        Self { mean: MEAN, deviation: DEVIATION }
    }
}

/// A whole CLIP as a reward model of pictures: `exp(logit_scale) cos(text, image)`, the `logits_per_image` of
/// transformers' `CLIPModel`. For CLIP itself and for models of its shape trained on preferences (PickScore).
#[derive(Debug)]
pub struct ClipScore {
    tokenizer: ClipTokenizer,
    text: ClipText,
    pub(super) vision: ClipVision,
    normalisation: ClipNormalisation,
    scale: f64,
}

impl ClipScore {
    /// Combines both halves; `scale` multiplies the cosine. Texts are truncated to the positions of the text encoder.
    ///
    /// # Errors
    /// A tokenizer with more tokens than the text encoder; projections of different widths.
    pub fn new(
        mut tokenizer: ClipTokenizer,
        text: ClipText,
        vision: ClipVision,
        normalisation: ClipNormalisation,
        scale: f64,
    ) -> Result<Self, ModelError> {
        let (known, readable) = (tokenizer.n_tokens(), text.config().vocabulary);
        if known > readable {
            let reason = format!("{known} tokens, and the text encoder has {readable}");
            return Err(ModelError::Tokenizer { path: tokenizer.path().to_path_buf(), reason });
        }
        let projection = vision.config().projection;
        if text.config().projection != Some(projection) {
            return Err(ModelError::Argument {
                what: "the projection of the text encoder".to_owned(),
                expected: format!("{projection} numbers, as of the image encoder"),
                got: text.config().projection.map_or_else(|| "none".to_owned(), |n| n.to_string()),
            });
        }
        tokenizer.limit(text.config().max_positions)?;
        Ok(Self { tokenizer, text, vision, normalisation, scale })
    }

    /// The side length of a picture in pixels.
    pub fn image_size(&self) -> usize {
        self.vision.config().image_size
    }

    /// The number of texts that the text encoder truncates.
    ///
    /// # Errors
    /// A tokenizer error.
    pub fn n_truncated(&self, texts: &[&str]) -> Result<usize, ModelError> {
        Ok(self.tokenizer.encode(texts)?.n_truncated())
    }

    /// The rewards of pictures, each with its text. Equal texts are encoded once.
    ///
    /// # Shapes
    /// A picture is `[image_size, image_size, 3]`: rows, columns, channels, values from -1 to 1.
    ///
    /// # Errors
    /// A picture of another size, a tokenizer error.
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
        let ClipNormalisation { mean, deviation } = self.normalisation;
        let value = |(i, value): (usize, &f32)| ((value + 1.0) / 2.0 - mean[i % 3]) / deviation[i % 3];
        values.iter().enumerate().map(value).collect()
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The configs of both halves, from the `config.json` of a `CLIPModel`.
pub(crate) fn halves(source: &Value) -> Result<(ClipTextConfig, ClipVisionConfig), ModelError> {
    if source["model_type"] != "clip" {
        let found = source["model_type"].as_str().unwrap_or("(none)").to_owned();
        return Err(ModelError::Architecture { found, supported: "clip (CLIPModel)".to_owned() });
    }
    let projection = Fields::new(source).size("projection_dim")?.unwrap_or(512);
    // Files omit the values of the first CLIP. Old files have some settings twice, and transformers uses the second.
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

/// The config of a half: `text_config`, or `text_config_dict` in its place.
fn given<'a>(source: &'a Value, name: &str) -> &'a Value {
    let second = &source[format!("{name}_dict")];
    if second.is_null() { &source[name] } else { second }
}
