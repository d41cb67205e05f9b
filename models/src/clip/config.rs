//! The config of a CLIP text encoder.

use std::collections::BTreeMap;

use serde_json::Value;

use super::activation::ClipActivation;
use super::encoder::{Blocks, with_bias};
use crate::ModelError;
use crate::fields::Fields;
use crate::fields::declared::Kind::{Number, Text, Whole};
use crate::fields::declared::{Table, harmless, honoured, refused};

/// The shape of a CLIP text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipTextConfig {
    /// The vocabulary size.
    pub vocabulary: usize,
    /// The width of hidden states.
    pub width: usize,
    /// The width of the MLP's hidden layer.
    pub inner: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Attention heads of each block.
    pub n_heads: usize,
    /// The maximum number of tokens of a text.
    pub max_positions: usize,
    /// The activation of the MLP.
    pub activation: ClipActivation,
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
    /// The token whose state is pooled. 2 means the highest token id of the text: released encoders have this wrong
    /// value, and transformers treats it so.
    pub eos: u32,
    /// The width of the projected state; `None` for a class without a projection.
    pub projection: Option<usize>,
}

impl ClipTextConfig {
    /// Reads the settings of a `CLIPTextModel` or a `CLIPTextModelWithProjection`.
    ///
    /// # Errors
    /// Another class of model; settings that are missing, invalid or not supported.
    pub fn from_json(source: &Value) -> Result<Self, ModelError> {
        let has_projection = has_projection(source)?;
        let given = source.as_object().ok_or_else(|| ModelError::config("config.json", "must hold an object"))?;
        DECLARED.refuse(given)?;
        let config = Self::from_known(source, has_projection)?;
        DECLARED.check_kinds(given)?;
        Ok(config)
    }

    fn from_known(source: &Value, has_projection: bool) -> Result<Self, ModelError> {
        let fields = Fields::new(source);
        let Blocks { width, inner, n_layers, n_heads, activation, norm_epsilon } = Blocks::from_json(source)?;
        Ok(Self {
            vocabulary: fields.size("vocab_size")?.unwrap_or(49_408),
            width,
            inner,
            n_layers,
            n_heads,
            max_positions: fields.size("max_position_embeddings")?.unwrap_or(77),
            activation,
            norm_epsilon,
            eos: fields.token("eos_token_id", Some(49_407))?.unwrap_or(49_407),
            projection: if has_projection { Some(fields.size("projection_dim")?.unwrap_or(512)) } else { None },
        })
    }

    /// The class in transformers.
    pub fn class(&self) -> &'static str {
        if self.projection.is_some() { "CLIPTextModelWithProjection" } else { "CLIPTextModel" }
    }

    pub(super) fn blocks(&self) -> Blocks {
        let Self { width, inner, n_layers, n_heads, activation, norm_epsilon, .. } = *self;
        Blocks { width, inner, n_layers, n_heads, activation, norm_epsilon }
    }

    /// Every tensor with its shape; names are without `text_model.`.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let width = self.width;
        let mut shapes = self.blocks().shapes();
        shapes.insert("embeddings.token_embedding.weight".into(), vec![self.vocabulary, width]);
        shapes.insert("embeddings.position_embedding.weight".into(), vec![self.max_positions, width]);
        with_bias(&mut shapes, "final_layer_norm", &[width]);
        if let Some(projection) = self.projection {
            shapes.insert("text_projection.weight".into(), vec![projection, width]);
        }
        shapes
    }

    /// The name of a stored tensor without `text_model.`; `None` for buffers and for the vision half of a CLIP.
    pub(crate) fn canonical_name(&self, stored: &str) -> Option<String> {
        let name = stored.strip_prefix("text_model.").unwrap_or(stored);
        let other_half = ["vision_model.", "visual_projection."].iter().any(|prefix| name.starts_with(prefix));
        let buffer = name.ends_with("position_ids") || name == "logit_scale";
        let unused = name == "text_projection.weight" && self.projection.is_none();
        (!other_half && !buffer && !unused).then(|| name.to_owned())
    }
}

/// Whether the class has a projection.
fn has_projection(source: &Value) -> Result<bool, ModelError> {
    let class = source["architectures"].get(0).and_then(Value::as_str);
    let model_type = source["model_type"].as_str();
    match (class, model_type) {
        (Some("CLIPTextModelWithProjection"), _) => Ok(true),
        (Some("CLIPTextModel"), _) | (None, Some("clip_text_model")) => Ok(false),
        (found, model_type) => Err(ModelError::Architecture {
            found: found.or(model_type).unwrap_or("(none)").to_owned(),
            supported: "CLIPTextModel, CLIPTextModelWithProjection".to_owned(),
        }),
    }
}

/// The fields of `CLIPTextConfig`, and their handling.
const DECLARED: Table = Table(&[
    honoured("vocab_size", Whole),
    honoured("hidden_size", Whole),
    honoured("intermediate_size", Whole),
    honoured("projection_dim", Whole).or_null(),
    honoured("num_hidden_layers", Whole),
    honoured("num_attention_heads", Whole),
    honoured("max_position_embeddings", Whole),
    honoured("hidden_act", Text),
    honoured("layer_norm_eps", Number),
    honoured("eos_token_id", Whole),
    // Training only, which never happens here or in pipelines.
    harmless("attention_dropout", Number),
    // Initialisation only.
    harmless("initializer_range", Number),
    harmless("initializer_factor", Number),
    // The tokenizer's are used.
    harmless("pad_token_id", Whole),
    harmless("bos_token_id", Whole),
    refused("quantization_config", &[]),
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_transformers_declares_has_a_fate() {
        crate::fields::declared::golden::check("CLIPTextConfig", DECLARED);
    }

    #[test]
    fn wrong_types_are_errors() {
        let error = |key: &str, value: Value| {
            let mut source = serde_json::json!({
                "architectures": ["CLIPTextModel"], "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 2,
            });
            source[key] = value;
            ClipTextConfig::from_json(&source).map_or_else(|e| e.to_string(), |_| "accepted".to_owned())
        };
        assert_eq!(error("attention_dropout", 0.1.into()), "accepted");
        assert!(error("attention_dropout", "0.1".into()).contains("`attention_dropout`: must be a number"));
        assert!(error("eos_token_id", serde_json::json!([2])).contains("`eos_token_id`: must be a whole number"));
        assert!(error("hidden_size", 16.0.into()).contains("`hidden_size`"));
        assert!(error("quantization_config", serde_json::json!({"bits": 4})).contains("quantization_config"));
    }
}
