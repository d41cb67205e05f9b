//! Families of language models as data: what tells one from another.

use std::fmt;

use crate::fields::table::Table;

/// A family of models with one class in transformers: the names of its settings and tensors, and the form of its blocks.
///
/// Sizes and switches of a model are in its `CausalConfig`, which the family's reader makes of a `config.json`.
pub struct Family {
    /// The `model_type` of `config.json`.
    pub(crate) model_type: &'static str,
    /// The class in transformers.
    pub(crate) class: &'static str,
    /// The class of its config in transformers.
    pub(crate) config_class: &'static str,
    /// The names of the tensors.
    pub(crate) names: TensorNames,
    /// The norm of the residual stream, and of queries and keys where they have one.
    pub(crate) norm: NormKind,
    /// The norm of queries and keys; it is applied where they have names of one.
    pub(crate) head_norm: HeadNorm,
    /// The layout of a fused projection of queries, keys and values.
    pub(crate) packing: Packing,
    /// The MLP's projections into its hidden layer.
    pub(crate) gate: Gate,
    /// Whether linear weights are `[in, out]`.
    pub(crate) transposed: bool,
    /// Whether new projections into the residual stream shrink with the number of blocks.
    pub(crate) scales_new_projections: bool,
    /// The handling of each setting.
    pub(crate) settings: &'static [Table],
    /// The tokenizer class that transformers takes.
    pub(crate) tokenizer: FamilyTokenizer,
    /// The family in GGUF files.
    pub(crate) gguf: Option<&'static GgufFamily>,
}

/// The names of a model's tensors, each without its `.weight` or `.bias`; those of blocks without the block's prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TensorNames {
    /// The prefix of every tensor but the head.
    pub(crate) prefix: &'static str,
    pub(crate) embedding: &'static str,
    /// Learned positions.
    pub(crate) positions: Option<&'static str>,
    /// The list of blocks.
    pub(crate) blocks: &'static str,
    pub(crate) final_norm: &'static str,
    /// The output matrix, with its `.weight`.
    pub(crate) head: &'static str,
    /// The norm before attention.
    pub(crate) attention_norm: Option<&'static str>,
    /// Queries, keys and values, or one fused projection.
    pub(crate) qkv: &'static [&'static str],
    pub(crate) query_norm: Option<&'static str>,
    pub(crate) key_norm: Option<&'static str>,
    pub(crate) attention_output: &'static str,
    /// The norm behind attention, before its result is added.
    pub(crate) after_attention: Option<&'static str>,
    /// The norm before the MLP.
    pub(crate) mlp_norm: Option<&'static str>,
    pub(crate) gate: Option<&'static str>,
    /// The MLP's projection into its hidden layer, or the fused one of gate and that.
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    /// The norm behind the MLP, before its result is added.
    pub(crate) after_mlp: Option<&'static str>,
}

impl TensorNames {
    /// Llama's, which most families share.
    pub(crate) const LLAMA: Self = Self {
        prefix: "model.",
        embedding: "embed_tokens",
        positions: None,
        blocks: "layers",
        final_norm: "norm",
        head: "lm_head.weight",
        attention_norm: Some("input_layernorm"),
        qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        query_norm: None,
        key_norm: None,
        attention_output: "self_attn.o_proj",
        after_attention: None,
        mlp_norm: Some("post_attention_layernorm"),
        gate: Some("mlp.gate_proj"),
        up: "mlp.up_proj",
        down: "mlp.down_proj",
        after_mlp: None,
    };

    /// These with norms of queries and keys.
    pub(crate) const fn with_head_norms(self) -> Self {
        Self { query_norm: Some("self_attn.q_norm"), key_norm: Some("self_attn.k_norm"), ..self }
    }
}

/// A normalisation of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// By mean and variance, with a bias.
    Layer,
    /// By the root mean square.
    Rms,
    /// By the root mean square, times one more than the weight.
    RmsPlusOne,
}

/// The rows that the norm of queries and keys sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadNorm {
    /// Each head by itself.
    PerHead,
    /// All heads together.
    Whole,
}

/// The layout of queries, keys and values in a fused projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// For each head its query, its key, its value.
    PerHead,
    /// All queries, then all keys, then all values.
    Blocks,
}

/// The projections into the hidden layer of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// One, which the activation follows.
    None,
    /// A gate, which the activation follows, times another.
    Split,
    /// Both in one: the gate, then the other.
    Fused,
}

/// The tokenizer class that transformers' `AutoTokenizer` takes for a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FamilyTokenizer {
    /// The one that the files declare.
    Declared,
    /// The one that the files declare, this one where they declare none.
    Or(&'static str),
    /// This one, whatever the files declare.
    Always(&'static str),
    /// The one that takes a `tokenizer.json` as it is, whatever the files declare.
    Unchanged,
}

/// A family in GGUF files, beyond what the common names of tensors and keys say.
#[derive(Debug)]
pub(crate) struct GgufFamily {
    /// The `general.architecture`.
    pub(crate) architecture: &'static str,
    /// The keys of its sizes.
    pub(crate) sizes: GgufSizes,
    /// The order of the rows of queries and keys.
    pub(crate) rows: GgufRows,
    /// The keys of `config.json` beyond the sizes, and what they hold.
    pub(crate) settings: &'static [(&'static str, GgufValue)],
    /// Further keys of the file that are read, without the architecture's name.
    pub(crate) keys: &'static [&'static str],
}

/// The sizes that a family's GGUF files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GgufSizes {
    /// Those of a decoder with RMSNorm and grouped heads.
    Grouped,
    /// GPT-2's.
    Gpt2,
    /// GPT-NeoX's.
    GptNeoX,
}

/// The order of rows of queries and keys in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GgufRows {
    /// transformers'.
    Same,
    /// Rotary pairs side by side.
    Interleaved,
}

/// Where a setting comes from in a GGUF file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GgufValue {
    /// A text that all models of the family have.
    Text(&'static str),
    /// A key with a number; null without it.
    Number(&'static str),
    /// The number of a key, and a default.
    NumberOr(&'static str, f64),
    /// Whether the file has a tensor.
    HasTensor(&'static str),
    /// False.
    Off,
    /// The square of the divisor of queries, which llama.cpp derives from the number of layers: the width over the heads if
    /// there are so many, the size of a head otherwise.
    QueryScalar(usize),
    /// The keys of rotary bases and scaling, for all layers.
    Rotary,
    /// The keys of rotary bases and scaling, for full and sliding layers.
    LayeredRotary,
    /// The share of a head's coordinates that rotate, and the factors of LongRoPE in tensors of their own.
    LongRotary,
}

impl Family {
    /// Llama's form, from which other families start: each names its model type, class and settings.
    pub(crate) const LLAMA: Self = Self {
        model_type: "",
        class: "",
        config_class: "",
        names: TensorNames::LLAMA,
        norm: NormKind::Rms,
        head_norm: HeadNorm::PerHead,
        packing: Packing::Blocks,
        gate: Gate::Split,
        transposed: false,
        scales_new_projections: false,
        settings: &[],
        tokenizer: FamilyTokenizer::Declared,
        gguf: None,
    };

    /// The `model_type` of `config.json`.
    pub fn model_type(&self) -> &'static str {
        self.model_type
    }

    /// The class in transformers that declares the settings.
    pub fn config_class(&self) -> &'static str {
        self.config_class
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type)
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl Eq for Family {}
