//! The configuration of a causal language model.

use serde_json::Value;

use super::rotary::Rotary;
use crate::ModelError;

/// The supported decoder architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// GPT-NeoX (Pythia): LayerNorm, partial rotary embedding, one packed projection for queries, keys and values.
    GptNeoX,
    /// GPT-2: LayerNorm, learned positions, weights stored `[in, out]`.
    Gpt2,
    /// Llama: RMSNorm, rotary embedding, grouped heads, gated MLP.
    Llama,
    /// Qwen2: Llama with biases on queries, keys and values.
    Qwen2,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::GptNeoX, Self::Gpt2, Self::Llama, Self::Qwen2];

    /// The `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::GptNeoX => "gpt_neox",
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }

    pub(super) fn from_model_type(found: &str) -> Result<Self, ModelError> {
        Self::ALL.into_iter().find(|architecture| architecture.model_type() == found).ok_or_else(|| {
            let supported = Self::ALL.map(Self::model_type).join(", ");
            ModelError::Architecture { found: found.to_owned(), supported }
        })
    }
}

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

/// The validated shape of a causal language model, in terms common to all architectures.
///
/// It is read from the contents of a Hugging Face `config.json`, in the spellings of transformers 4 and 5, with
/// transformers' defaults. Sizes have no defaults: a config without them is an error.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in config.json")]
pub struct CausalConfig {
    /// The architecture.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub n_layers: usize,
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
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub eos: Vec<u32>,
    /// The whole file, for saving.
    pub source: Value,
}

impl CausalConfig {
    /// All settings that affect the model's output, as text for a fingerprint.
    pub(crate) fn settings(&self) -> String {
        format!("{:?}", Self { source: Value::Null, ..self.clone() })
    }

    /// The architecture's prefix of every tensor but the head: `gpt_neox.`, `transformer.` or `model.`.
    pub fn prefix(&self) -> &'static str {
        match self.architecture {
            Architecture::GptNeoX => "gpt_neox.",
            Architecture::Gpt2 => "transformer.",
            Architecture::Llama | Architecture::Qwen2 => "model.",
        }
    }

    pub(super) fn check_heads(&self) -> Result<(), ModelError> {
        let (query, key_value) = (self.n_query_heads, self.n_key_value_heads);
        if !query.is_multiple_of(key_value) {
            let reason = format!("{key_value} key and value heads cannot be shared by {query} query heads");
            return Err(ModelError::config("num_key_value_heads", reason));
        }
        self.rotary.map_or(Ok(()), |rotary| rotary.check(self.head_size))
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
