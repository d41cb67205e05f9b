//! The config of T5's encoder.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ModelError;
use crate::fields::Fields;
use crate::fields::declared::Kind::{Any, Flag, Number, Text, Whole};
use crate::fields::declared::{Table, harmless, honoured, refused};

/// An upper bound on layers, so that the count of a damaged file allocates little.
const MOST_LAYERS: usize = 512;
/// The same on sizes.
const MOST: usize = 1 << 20;

/// The activation of the feed-forward networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum T5Activation {
    /// A rectifier between two layers (`relu`, the first version).
    Relu,
    /// A gate with the tanh approximation of GELU (`gated-gelu`, version 1.1).
    GatedGelu,
    /// A gate with SiLU (`gated-silu`).
    GatedSilu,
}

/// The shape of a `T5EncoderModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    /// The vocabulary size.
    pub vocabulary: usize,
    /// The width of hidden states.
    pub width: usize,
    /// The width of the feed-forward networks' hidden layer.
    pub inner: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Attention heads of each block.
    pub n_heads: usize,
    /// The width of a head; all heads together need not be as wide as hidden states.
    pub head_size: usize,
    /// The number of buckets of relative positions.
    pub n_buckets: usize,
    /// The distance from which on all positions share a bucket.
    pub max_distance: usize,
    /// The activation.
    pub activation: T5Activation,
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
}

impl T5Config {
    /// The class in transformers.
    pub const CLASS: &'static str = "T5EncoderModel";

    /// Reads the settings of a `T5EncoderModel`, with transformers' defaults.
    ///
    /// # Errors
    /// Another class of model; settings that are invalid or not supported.
    pub fn from_json(source: &Value) -> Result<Self, ModelError> {
        let class = source["architectures"].get(0).and_then(Value::as_str);
        let model_type = source["model_type"].as_str();
        if class.map_or(model_type != Some("t5"), |class| class != Self::CLASS) {
            let found = class.or(model_type).unwrap_or("(none)").to_owned();
            return Err(ModelError::Architecture { found, supported: Self::CLASS.to_owned() });
        }
        let given = source.as_object().ok_or_else(|| ModelError::config("config.json", "must hold an object"))?;
        DECLARED.refuse(given)?;
        let config = Self::from_known(Fields::new(&Value::Object(DECLARED.known(given))))?;
        DECLARED.check_kinds(given)?;
        Ok(config)
    }

    fn from_known(fields: Fields<'_>) -> Result<Self, ModelError> {
        let size = |key: &str, default: usize, most: usize| match fields.size(key)?.unwrap_or(default) {
            size if size <= most => Ok(size),
            size => Err(ModelError::config(key, format!("{size} is beyond any encoder"))),
        };
        let config = Self {
            vocabulary: size("vocab_size", 32_128, MOST)?,
            width: size("d_model", 512, MOST)?,
            inner: size("d_ff", 2048, MOST)?,
            n_layers: size("num_layers", 6, MOST_LAYERS)?,
            n_heads: size("num_heads", 8, MOST)?,
            head_size: size("d_kv", 64, MOST)?,
            n_buckets: size("relative_attention_num_buckets", 32, MOST)?,
            max_distance: size("relative_attention_max_distance", 128, MOST)?,
            activation: activation(fields)?,
            norm_epsilon: fields.positive("layer_norm_epsilon", 1e-6)?,
        };
        // A half of the buckets is for each direction, and a half of these for single distances.
        if config.n_buckets < 4 || config.max_distance <= config.n_buckets / 4 {
            let reason = format!("{} buckets leave none for distances up to {}", config.n_buckets, config.max_distance);
            return Err(ModelError::config("relative_attention_num_buckets", reason));
        }
        Ok(config)
    }

    /// Every tensor with its shape.
    pub fn tensor_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let (width, heads) = (self.width, self.n_heads * self.head_size);
        let mut shapes = BTreeMap::from([
            ("shared.weight".to_owned(), vec![self.vocabulary, width]),
            ("encoder.final_layer_norm.weight".to_owned(), vec![width]),
            (
                "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight".to_owned(),
                vec![self.n_buckets, self.n_heads],
            ),
        ]);
        for layer in 0..self.n_layers {
            let mut add = |name: &str, shape: &[usize]| {
                shapes.insert(format!("encoder.block.{layer}.layer.{name}.weight"), shape.to_vec());
            };
            for part in ["q", "k", "v"] {
                add(&format!("0.SelfAttention.{part}"), &[heads, width]);
            }
            add("0.SelfAttention.o", &[width, heads]);
            add("0.layer_norm", &[width]);
            add("1.layer_norm", &[width]);
            let inner: &[&str] = if self.activation == T5Activation::Relu { &["wi"] } else { &["wi_0", "wi_1"] };
            for part in inner {
                add(&format!("1.DenseReluDense.{part}"), &[self.inner, width]);
            }
            add("1.DenseReluDense.wo", &[width, self.inner]);
        }
        shapes
    }

    /// The name of a stored tensor; `None` for the second name of the embeddings.
    pub(crate) fn canonical_name(stored: &str) -> Option<String> {
        (stored != "encoder.embed_tokens.weight").then(|| stored.to_owned())
    }
}

fn activation(fields: Fields<'_>) -> Result<T5Activation, ModelError> {
    match fields.text("feed_forward_proj")?.as_deref() {
        None | Some("relu") => Ok(T5Activation::Relu),
        Some("gated-gelu") => Ok(T5Activation::GatedGelu),
        Some("gated-silu") => Ok(T5Activation::GatedSilu),
        Some(other) => {
            let reason = format!("`{other}` is not supported; supported: relu, gated-gelu, gated-silu");
            Err(ModelError::config("feed_forward_proj", reason))
        }
    }
}

/// The fields of `T5Config`, and their handling.
const DECLARED: Table = Table(&[
    honoured("vocab_size", Whole),
    honoured("d_model", Whole),
    honoured("d_kv", Whole),
    honoured("d_ff", Whole),
    honoured("num_layers", Whole),
    honoured("num_heads", Whole),
    honoured("relative_attention_num_buckets", Whole),
    honoured("relative_attention_max_distance", Whole),
    honoured("layer_norm_epsilon", Number),
    honoured("feed_forward_proj", Text),
    // Of the decoder, which is no part of it, and of generation.
    harmless("num_decoder_layers", Whole),
    harmless("use_cache", Flag),
    // Training only, which never happens here.
    harmless("dropout_rate", Number),
    harmless("classifier_dropout", Number),
    harmless("initializer_factor", Number),
    // The tokenizer's are used.
    harmless("pad_token_id", Any),
    harmless("eos_token_id", Any),
    refused("is_decoder", &["false"]),
    refused("quantization_config", &[]),
]);

#[cfg(test)]
mod tests {
    #[test]
    fn every_field_that_transformers_declares_has_a_fate() {
        crate::fields::declared::golden::check("T5Config", super::DECLARED);
    }
}
