//! The text encoder.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use engine::Parameters;
use engine::ops::{self, Forest, WeightLayout};

use super::{ClipActivation, ClipTextConfig};
use crate::PolicyError;
use crate::formats::component::{Expected, read_config, read_tensors};

/// How many texts are in memory at once.
const TEXTS_AT_ONCE: usize = 16;

/// A frozen CLIP text encoder: `CLIPTextModel` or `CLIPTextModelWithProjection` of transformers.
#[derive(Debug)]
pub struct ClipText {
    config: ClipTextConfig,
    parameters: Parameters,
}

/// What the encoder says of one text of L tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipOutput {
    /// The last hidden states after the final norm, `[L, width]`, row after row.
    pub last: Vec<f32>,
    /// The hidden states before the last block, without a norm, `[L, width]`.
    pub penultimate: Vec<f32>,
    /// The last hidden state of the end token, `[width]`.
    pub pooled: Vec<f32>,
    /// The pooled state projected, `[projection]`, where the class has a projection.
    pub projected: Option<Vec<f32>>,
}

impl ClipText {
    /// Loads a folder of `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// Files that are missing or damaged, another class of model, tensors that are not those of the configuration.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, PolicyError> {
        let config = read_config(folder, ClipTextConfig::from_json)?;
        let shapes = config.shapes();
        let canonical = |stored: &str| canonical(&config, stored);
        let expected = Expected { class: config.class(), stem: "model", shapes: &shapes, canonical: &canonical };
        let mut parameters = Parameters::default();
        for (name, tensor) in read_tensors(folder, &expected, device)? {
            parameters.insert_frozen(name, tensor)?;
        }
        Ok(Self { config, parameters })
    }

    /// The encoder's shape.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Encodes texts. Padding tokens are tokens like any others: where the denoiser was trained to read them, the
    /// tokenizer puts them in.
    ///
    /// # Errors
    /// A text without tokens or with too many, a token outside the vocabulary.
    pub fn encode(&self, texts: &[Vec<u32>]) -> Result<Vec<ClipOutput>, PolicyError> {
        texts.iter().try_for_each(|text| self.check(text))?;
        let mut outputs = Vec::with_capacity(texts.len());
        for batch in texts.chunks(TEXTS_AT_ONCE) {
            self.encode_batch(batch, &mut outputs)?;
        }
        Ok(outputs)
    }

    fn check(&self, text: &[u32]) -> Result<(), PolicyError> {
        let ClipTextConfig { vocabulary, max_positions, .. } = self.config;
        let wrong = |what: &str, expected: String, got: String| {
            Err(PolicyError::Argument { what: what.to_owned(), expected, got })
        };
        if text.is_empty() || text.len() > max_positions {
            return wrong("tokens of a text", format!("1 to {max_positions}"), text.len().to_string());
        }
        match text.iter().find(|&&token| token as usize >= vocabulary) {
            Some(token) => wrong("token of a text", format!("below {vocabulary}"), token.to_string()),
            None => Ok(()),
        }
    }

    fn encode_batch(&self, texts: &[Vec<u32>], outputs: &mut Vec<ClipOutput>) -> Result<(), PolicyError> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let forest = Arc::new(Forest::chains(&lengths));
        let tokens: Vec<u32> = texts.concat();
        let embedded = ops::embedding(&tokens, self.weight("embeddings.token_embedding")?)?;
        let places = ops::embedding(&forest.positions(), self.weight("embeddings.position_embedding")?)?;
        let mut x = ops::add(&embedded, &places)?;
        let mut penultimate = x.clone();
        for layer in 0..self.config.n_layers {
            penultimate = x;
            x = self.block(&penultimate, layer, &forest)?;
        }
        let last = self.norm(&x, "final_layer_norm")?;
        let ends = forest.segments.iter().zip(texts).map(|(s, text)| (s.start + self.end(text)) as u32);
        let pooled = ops::embedding(&ends.collect::<Vec<_>>(), &last)?;
        let projected = match self.config.projection {
            Some(_) => Some(ops::linear(&pooled, self.weight("text_projection")?, None, WeightLayout::OutIn)?),
            None => None,
        };
        let rows = |x: &Tensor, start, n| x.narrow(0, start, n)?.flatten_all()?.to_vec1::<f32>();
        for (index, segment) in forest.segments.iter().enumerate() {
            outputs.push(ClipOutput {
                last: rows(&last, segment.start, segment.len)?,
                penultimate: rows(&penultimate, segment.start, segment.len)?,
                pooled: rows(&pooled, index, 1)?,
                projected: projected.as_ref().map(|projected| rows(projected, index, 1)).transpose()?,
            });
        }
        Ok(())
    }

    fn block(&self, x: &Tensor, layer: usize, forest: &Arc<Forest>) -> Result<Tensor, PolicyError> {
        let name = |part: &str| format!("encoder.layers.{layer}.{part}");
        let normal = self.norm(x, &name("layer_norm1"))?;
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|p| self.linear(&normal, &name(&format!("self_attn.{p}"))));
        let attended = ops::forest_attention(&q?, &k?, &v?, self.config.heads(), forest)?;
        let x = ops::add(x, &self.linear(&attended, &name("self_attn.out_proj"))?)?;
        let inner = self.linear(&self.norm(&x, &name("layer_norm2"))?, &name("mlp.fc1"))?;
        let inner = match self.config.activation {
            ClipActivation::QuickGelu => ops::quick_gelu(&inner)?,
            ClipActivation::Gelu => ops::gelu(&inner)?,
        };
        Ok(ops::add(&x, &self.linear(&inner, &name("mlp.fc2"))?)?)
    }

    /// Where the token is whose state stands for the text; 0 where there is none, as in transformers.
    fn end(&self, text: &[u32]) -> usize {
        let end = if self.config.eos == 2 { text.iter().max().copied().unwrap_or(0) } else { self.config.eos };
        text.iter().position(|&token| token == end).unwrap_or(0)
    }

    fn weight(&self, name: &str) -> Result<&Tensor, PolicyError> {
        Ok(self.parameters.get(&format!("{name}.weight"))?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor, PolicyError> {
        let bias = self.parameters.find(&format!("{name}.bias"));
        Ok(ops::layer_norm(x, self.weight(name)?, bias, self.config.norm_epsilon)?)
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, PolicyError> {
        let bias = self.parameters.find(&format!("{name}.bias"));
        Ok(ops::linear(x, self.weight(name)?, bias, WeightLayout::OutIn)?)
    }
}

/// The name of a stored tensor without `text_model.`; `None` for buffers and for the other half of a whole CLIP.
fn canonical(config: &ClipTextConfig, stored: &str) -> Option<String> {
    let name = stored.strip_prefix("text_model.").unwrap_or(stored);
    let other_half = ["vision_model.", "visual_projection."].iter().any(|prefix| name.starts_with(prefix));
    let buffer = name.ends_with("position_ids") || name == "logit_scale";
    let unused = name == "text_projection.weight" && config.projection.is_none();
    (!other_half && !buffer && !unused).then(|| name.to_owned())
}
