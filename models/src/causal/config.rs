//! The configuration of a causal language model.

use engine::ops::{AttentionForm, LogitForm};
use serde_json::Value;

use super::family::{Family, TensorNames};
use super::rotary::Rotary;
use super::token_batch::TokenBatch;
use crate::ModelError;
use crate::external::External;

/// The activation function of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Phi(x)` with the exact normal distribution function.
    Gelu,
    /// The tanh approximation of it.
    GeluTanh,
    /// `x sigmoid(x)`.
    Silu,
}

impl Activation {
    pub(super) fn from_name(key: &str, name: &str) -> Result<Self, ModelError> {
        match name {
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Self::GeluTanh),
            "silu" | "swish" => Ok(Self::Silu),
            other => Err(ModelError::config(
                key,
                format!(
                    "activation `{other}` is not supported; supported: gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, swish"
                ),
            )),
        }
    }
}

/// The positions that a block's queries and keys carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPositions {
    /// None, or those learned with the embedding.
    Unrotated,
    /// The model's rotary embedding.
    Rotary,
    /// The rotary embedding of sliding layers.
    Local,
}

/// What differs from block to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The number of last tokens that attention sees, the token itself included; `None` for all.
    pub window: Option<usize>,
    /// The positions of queries and keys.
    pub positions: LayerPositions,
}

impl Layer {
    /// A block that sees all tokens, with the model's rotary embedding.
    pub const FULL: Self = Self { window: None, positions: LayerPositions::Rotary };
    /// One without a rotary embedding.
    pub const UNROTATED: Self = Self { window: None, positions: LayerPositions::Unrotated };
}

/// The blocks of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layers {
    /// All alike.
    Alike(Layer),
    /// One by one.
    Listed(Vec<Layer>),
}

impl Layers {
    /// A block by its index.
    pub fn at(&self, index: usize) -> Layer {
        match self {
            Self::Alike(layer) => *layer,
            Self::Listed(layers) => layers.get(index).copied().unwrap_or(Layer::FULL),
        }
    }
}

/// The constant factors and soft bounds of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// The factor of embedded tokens.
    pub embedding: f64,
    /// The factor of what attention and MLP add to the residual stream.
    pub residual: f64,
    /// The factor of the products of queries and keys; `None` for one over the root of the head's size.
    pub attention: Option<f64>,
    /// The soft bound of attention's scores.
    pub attention_cap: Option<f64>,
    /// The form of the logits.
    pub logits: LogitForm,
}

impl Scales {
    /// No factors and no bounds.
    pub const PLAIN: Self =
        Self { embedding: 1.0, residual: 1.0, attention: None, attention_cap: None, logits: LogitForm::PLAIN };
}

/// The validated shape of a causal language model, in terms common to all families.
///
/// It is read from the contents of a Hugging Face `config.json`, in the spellings of transformers 4 and 5, with
/// transformers' defaults. Sizes have no defaults: a config without them is an error.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in config.json")]
pub struct CausalConfig {
    /// The family.
    pub family: &'static Family,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub n_layers: usize,
    /// What differs from block to block.
    pub layers: Layers,
    /// Number of query heads.
    pub n_query_heads: usize,
    /// Number of key and value heads; divides the query heads.
    pub n_key_value_heads: usize,
    /// Coordinates per head.
    pub head_size: usize,
    /// Width of the MLP's hidden layer.
    pub inner: usize,
    /// The context length.
    pub max_positions: usize,
    /// Epsilon of the norms.
    pub norm_epsilon: f64,
    /// The MLP's activation.
    pub activation: Activation,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// GPT-NeoX: attention and MLP read the same residual.
    pub parallel_residual: bool,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether attention's output projection has a bias.
    pub attention_output_bias: bool,
    /// Whether the MLP's projections have biases.
    pub mlp_bias: bool,
    /// The rotary embedding; `None` for learned positions.
    pub rotary: Option<Rotary>,
    /// The rotary embedding of sliding layers, where they have their own.
    pub local_rotary: Option<Rotary>,
    /// Constant factors and soft bounds.
    pub scales: Scales,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The network, where another library computes it; nothing above but the sizes and tokens is its then.
    pub external: Option<External<TokenBatch>>,
    /// The whole file, for saving.
    pub source: Value,
}

impl CausalConfig {
    /// All settings that affect the model's output, as text for a fingerprint.
    pub(crate) fn settings(&self) -> String {
        if let Some(network) = &self.external {
            return format!("{} {} {}", network.identity(), self.vocabulary, self.max_positions);
        }
        // A field that says nothing of this network is left out, so that fingerprints stay what they were without it.
        format!("{:?}", Self { source: Value::Null, ..self.clone() }).replace("external: None, ", "")
    }

    /// The family's prefix of every tensor but the head: `gpt_neox.`, `transformer.` or `model.`.
    pub fn prefix(&self) -> &'static str {
        self.family.names.prefix
    }

    /// The names of its tensors.
    pub(crate) fn names(&self) -> &'static TensorNames {
        &self.family.names
    }

    /// The form of a block's attention.
    pub(super) fn attention_form(&self, layer: usize) -> AttentionForm {
        let window = self.layers.at(layer).window;
        AttentionForm { scale: self.scales.attention, cap: self.scales.attention_cap, window }
    }

    pub(super) fn check_heads(&self) -> Result<(), ModelError> {
        let (query, key_value) = (self.n_query_heads, self.n_key_value_heads);
        if !query.is_multiple_of(key_value) {
            let reason = format!("{key_value} key and value heads cannot be shared by {query} query heads");
            return Err(ModelError::config("num_key_value_heads", reason));
        }
        [&self.rotary, &self.local_rotary].into_iter().flatten().try_for_each(|rotary| rotary.check(self.head_size))
    }

    /// Sets the vocabulary size, in the source too.
    pub(crate) fn widen(&mut self, vocabulary: usize) {
        self.vocabulary = vocabulary;
        self.source["vocab_size"] = Value::from(vocabulary);
    }

    /// Marks the output matrix as untied, in the source too, so that both matrices are saved.
    pub(crate) fn untie(&mut self) {
        self.tied = false;
        self.source["tie_word_embeddings"] = Value::Bool(false);
    }
}
