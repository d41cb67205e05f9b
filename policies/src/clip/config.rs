//! The settings of a CLIP text encoder, from its `config.json`.

use std::collections::BTreeMap;

use engine::ops;
use serde_json::Value;

use crate::PolicyError;
use crate::causal::fields::Fields;

/// More layers than any text encoder has; a damaged file's count must not be spelled out.
const MOST_LAYERS: usize = 1000;

/// The nonlinearity of the feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipActivation {
    /// `x sigmoid(1.702 x)`, OpenAI's.
    QuickGelu,
    /// The exact one, OpenCLIP's.
    Gelu,
}

/// The shape of a CLIP text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipTextConfig {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Numbers of a hidden state.
    pub width: usize,
    /// Numbers between the two feed-forward layers.
    pub inner: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Attention heads of each block.
    pub n_heads: usize,
    /// The most tokens of a text.
    pub max_positions: usize,
    /// The nonlinearity of the feed-forward layers.
    pub activation: ClipActivation,
    /// What is added to a variance before its root is taken.
    pub norm_epsilon: f64,
    /// The token whose state stands for the whole text. 2 stands for the highest token of the text, whatever it is:
    /// released encoders say so by an old mistake that has become a convention.
    pub eos: u32,
    /// Numbers of the projected state; `None` for a class without a projection.
    pub projection: Option<usize>,
}

impl ClipTextConfig {
    /// Reads the settings of a `CLIPTextModel` or a `CLIPTextModelWithProjection`.
    ///
    /// # Errors
    /// Another class of model, and settings that are missing, impossible or not supported.
    pub fn from_json(source: &Value) -> Result<Self, PolicyError> {
        let fields = Fields::new(source);
        let has_projection = has_projection(source)?;
        let config = Self {
            vocabulary: fields.size("vocab_size")?.unwrap_or(49_408),
            width: fields.required_size("hidden_size")?,
            inner: fields.required_size("intermediate_size")?,
            n_layers: fields.required_size("num_hidden_layers")?,
            n_heads: fields.required_size("num_attention_heads")?,
            max_positions: fields.size("max_position_embeddings")?.unwrap_or(77),
            activation: activation(fields)?,
            norm_epsilon: fields.positive("layer_norm_eps", 1e-5)?,
            eos: fields.token("eos_token_id", Some(49_407))?.unwrap_or(49_407),
            projection: if has_projection { Some(fields.size("projection_dim")?.unwrap_or(512)) } else { None },
        };
        if config.n_layers > MOST_LAYERS {
            return Err(PolicyError::config("num_hidden_layers", format!("{} is beyond any encoder", config.n_layers)));
        }
        if !config.width.is_multiple_of(config.n_heads) {
            let reason = format!("{} numbers can't be shared by {} heads", config.width, config.n_heads);
            return Err(PolicyError::config("num_attention_heads", reason));
        }
        Ok(config)
    }

    /// The class of transformers that has this shape.
    pub fn class(&self) -> &'static str {
        if self.projection.is_some() { "CLIPTextModelWithProjection" } else { "CLIPTextModel" }
    }

    pub(super) fn heads(&self) -> ops::Heads {
        ops::Heads { query: self.n_heads, key_value: self.n_heads, size: self.width / self.n_heads }
    }

    /// Every tensor, by its name without `text_model.`, and its shape.
    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (width, inner) = (self.width, self.inner);
        let mut shapes = BTreeMap::new();
        let mut insert = |name: String, shape: Vec<usize>| shapes.insert(name, shape);
        insert("embeddings.token_embedding.weight".into(), vec![self.vocabulary, width]);
        insert("embeddings.position_embedding.weight".into(), vec![self.max_positions, width]);
        let mut with_bias = |name: &str, shape: &[usize]| {
            insert(format!("{name}.weight"), shape.to_vec());
            insert(format!("{name}.bias"), shape[..1].to_vec());
        };
        with_bias("final_layer_norm", &[width]);
        for layer in 0..self.n_layers {
            let mut of_layer =
                |name: &str, shape: &[usize]| with_bias(&format!("encoder.layers.{layer}.{name}"), shape);
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                of_layer(&format!("self_attn.{name}"), &[width, width]);
            }
            of_layer("layer_norm1", &[width]);
            of_layer("layer_norm2", &[width]);
            of_layer("mlp.fc1", &[inner, width]);
            of_layer("mlp.fc2", &[width, inner]);
        }
        if let Some(projection) = self.projection {
            insert("text_projection.weight".into(), vec![projection, width]);
        }
        shapes
    }
}

/// Whether the class has a projection.
fn has_projection(source: &Value) -> Result<bool, PolicyError> {
    let class = source["architectures"].get(0).and_then(Value::as_str);
    let model_type = source["model_type"].as_str();
    match (class, model_type) {
        (Some("CLIPTextModelWithProjection"), _) => Ok(true),
        (Some("CLIPTextModel"), _) | (None, Some("clip_text_model")) => Ok(false),
        (found, model_type) => Err(PolicyError::Architecture {
            found: found.or(model_type).unwrap_or("(none)").to_owned(),
            supported: "CLIPTextModel, CLIPTextModelWithProjection".to_owned(),
        }),
    }
}

fn activation(fields: Fields<'_>) -> Result<ClipActivation, PolicyError> {
    match fields.text("hidden_act")?.as_deref() {
        None | Some("quick_gelu") => Ok(ClipActivation::QuickGelu),
        Some("gelu") => Ok(ClipActivation::Gelu),
        Some(other) => {
            let reason = format!("`{other}` is not supported; supported: quick_gelu, gelu");
            Err(PolicyError::config("hidden_act", reason))
        }
    }
}
