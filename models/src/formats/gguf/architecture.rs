//! Converts GGUF metadata to a Hugging Face config and tensor names.

use serde_json::{Value, json};

use super::header::{Header, Meta};
use super::keys;
use super::weights::Layout;
use crate::ModelError;
use crate::causal::Architecture;

/// The metadata of one architecture, with typed reads.
pub(super) struct Settings<'a> {
    header: &'a Header,
    name: &'a str,
    /// The architecture.
    pub(super) architecture: Architecture,
}

impl<'a> Settings<'a> {
    /// Detects the architecture.
    ///
    /// # Errors
    /// No architecture, or an unsupported one.
    pub(super) fn new(header: &'a Header) -> Result<Self, ModelError> {
        let name = match header.metadata.get("general.architecture") {
            Some(Meta::Text(name)) => name.as_str(),
            _ => return Err(ModelError::config("general.architecture", "missing; this GGUF file is not a model")),
        };
        let architecture = match name {
            "llama" => Architecture::Llama,
            "qwen2" => Architecture::Qwen2,
            "gpt2" => Architecture::Gpt2,
            "gptneox" => Architecture::GptNeoX,
            other => {
                let supported = "llama, qwen2, gpt2, gptneox".to_owned();
                return Err(ModelError::Architecture { found: other.to_owned(), supported });
            }
        };
        Ok(Self { header, name, architecture })
    }

    /// The equivalent Hugging Face config.
    ///
    /// # Errors
    /// A missing or invalid setting, or an unsupported variant of the architecture.
    pub(super) fn config(&self, tied: bool) -> Result<Value, ModelError> {
        keys::check(self.header, self.name)?;
        let vocabulary = self.header.tensors.get("token_embd.weight").map(|info| info.shape[0]);
        let Some(vocabulary) = vocabulary else {
            return Err(ModelError::config("token_embd.weight", "the file has no such tensor"));
        };
        let mut config = match self.architecture {
            Architecture::Llama | Architecture::Qwen2 => self.llama()?,
            Architecture::Gpt2 => self.gpt2()?,
            Architecture::GptNeoX => self.gpt_neox()?,
        };
        if let Some(factor) = self.linear_scaling()?.filter(|_| self.architecture != Architecture::Gpt2) {
            config["rope_scaling"] = json!({ "rope_type": "linear", "type": "linear", "factor": factor });
        }
        config["vocab_size"] = json!(vocabulary);
        config["tie_word_embeddings"] = json!(tied);
        Ok(config)
    }

    fn llama(&self) -> Result<Value, ModelError> {
        let width = self.size("embedding_length")?;
        let heads = self.size("attention.head_count")?;
        let head_size = self.optional("attention.key_length")?.unwrap_or(width / heads.max(1));
        for key in ["rope.dimension_count", "attention.value_length"] {
            if self.optional(key)?.is_some_and(|n| n != head_size) {
                return Err(ModelError::config(self.key(key), format!("must be the size of a head, {head_size}")));
            }
        }
        let mut config = json!({
            "model_type": self.architecture.model_type(),
            "hidden_size": width,
            "intermediate_size": self.size("feed_forward_length")?,
            "num_hidden_layers": self.size("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.optional("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": head_size,
            "hidden_act": "silu",
            "max_position_embeddings": self.size("context_length")?,
            "rms_norm_eps": self.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            "rope_theta": self.number("rope.freq_base")?.unwrap_or(10_000.0),
        });
        if self.architecture == Architecture::Llama {
            config["attention_bias"] = json!(self.header.tensors.contains_key("blk.0.attn_q.bias"));
            config["mlp_bias"] = json!(self.header.tensors.contains_key("blk.0.ffn_up.bias"));
        } else {
            config["use_sliding_window"] = json!(false);
        }
        Ok(config)
    }

    /// The factor of linear rotary scaling, if there is one.
    fn linear_scaling(&self) -> Result<Option<f64>, ModelError> {
        let kind = match self.meta("rope.scaling.type") {
            None => "linear",
            Some(Meta::Text(kind)) => kind,
            Some(other) => return Err(self.wrong("rope.scaling.type", "a name", other)),
        };
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        match (kind, factor.filter(|f| *f != 0.0 && *f != 1.0)) {
            ("none", _) | (_, None) => Ok(None),
            ("linear", factor) => Ok(factor),
            (other, _) => {
                let reason = format!("rotary scaling `{other}` is not supported; supported: none, linear");
                Err(ModelError::config(self.key("rope.scaling.type"), reason))
            }
        }
    }

    fn gpt2(&self) -> Result<Value, ModelError> {
        let width = self.size("embedding_length")?;
        Ok(json!({
            "model_type": "gpt2",
            "n_embd": width,
            "n_inner": self.optional("feed_forward_length")?.unwrap_or(4 * width),
            "n_layer": self.size("block_count")?,
            "n_head": self.size("attention.head_count")?,
            "n_positions": self.size("context_length")?,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": self.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5),
        }))
    }

    fn gpt_neox(&self) -> Result<Value, ModelError> {
        let width = self.size("embedding_length")?;
        let heads = self.size("attention.head_count")?;
        let head_size = width / heads.max(1);
        let rotated = self.optional("rope.dimension_count")?.unwrap_or(head_size);
        if !rotated.is_multiple_of(2) {
            // llama.cpp and transformers would rotate different pairs.
            let reason = format!("{rotated} coordinates of a head cannot turn in pairs");
            return Err(ModelError::config(self.key("rope.dimension_count"), reason));
        }
        let share = rotated as f64 / head_size.max(1) as f64;
        // Rounding must not lose a coordinate.
        let is_kept = (head_size as f64 * share) as usize == rotated;
        let share = if is_kept { share } else { (rotated as f64 + 0.5) / head_size.max(1) as f64 };
        let parallel = match self.meta("use_parallel_residual") {
            None => true,
            Some(Meta::Bool(parallel)) => *parallel,
            Some(other) => return Err(self.wrong("use_parallel_residual", "true or false", other)),
        };
        Ok(json!({
            "model_type": "gpt_neox",
            "hidden_size": width,
            "intermediate_size": self.size("feed_forward_length")?,
            "num_hidden_layers": self.size("block_count")?,
            "num_attention_heads": heads,
            "hidden_act": "gelu",
            "max_position_embeddings": self.size("context_length")?,
            "layer_norm_eps": self.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5),
            "rotary_pct": share,
            "rotary_emb_base": self.number("rope.freq_base")?.unwrap_or(10_000.0),
            "use_parallel_residual": parallel,
        }))
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn meta(&self, key: &str) -> Option<&'a Meta> {
        self.header.metadata.get(&self.key(key))
    }

    fn wrong(&self, key: &str, expected: &str, found: &Meta) -> ModelError {
        ModelError::config(self.key(key), format!("must be {expected}, not {found:?}"))
    }

    fn size(&self, key: &str) -> Result<usize, ModelError> {
        self.optional(key)?.ok_or_else(|| ModelError::config(self.key(key), "missing"))
    }

    /// An integer; a list per layer is accepted if all entries are equal.
    fn optional(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let size = |n: i64| u32::try_from(n).ok().map(|n| n as usize);
        let found = match self.meta(key) {
            None => return Ok(None),
            Some(Meta::Integer(n)) => size(*n),
            Some(Meta::Integers(list)) if list.windows(2).all(|w| w[0] == w[1]) => list.first().copied().and_then(size),
            Some(_) => None,
        };
        found.map(Some).ok_or_else(|| ModelError::config(self.key(key), "must be one whole number for all layers"))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.meta(key) {
            None => Ok(None),
            Some(Meta::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, "a finite number", other)),
        }
    }

    /// The Hugging Face name of a tensor and its layout in the file; `None` for tensors that are not weights.
    pub(super) fn place(&self, stored: &str, query: usize, key_value: usize) -> Option<(String, Layout)> {
        if stored == "rope_freqs.weight" || stored.ends_with(".attn_rot_embd.weight") {
            return None;
        }
        let unknown = || Some((stored.to_owned(), Layout::Same));
        let Some((stem, kind)) = stored.rsplit_once('.') else { return unknown() };
        let (prefix, part) = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, part)) => (self.block(layer), part),
            None => (String::new(), stem),
        };
        let Some((name, layout)) = self.part(part, query, key_value) else { return unknown() };
        let layout = if kind == "bias" && layout == Layout::Transposed { Layout::Same } else { layout };
        Some((format!("{prefix}{name}.{kind}"), layout))
    }

    fn block(&self, layer: &str) -> String {
        match self.architecture {
            Architecture::Gpt2 => format!("transformer.h.{layer}."),
            Architecture::GptNeoX => format!("gpt_neox.layers.{layer}."),
            Architecture::Llama | Architecture::Qwen2 => format!("model.layers.{layer}."),
        }
    }

    fn part(&self, part: &str, query: usize, key_value: usize) -> Option<(&'static str, Layout)> {
        match self.architecture {
            Architecture::Gpt2 => gpt2_part(part),
            Architecture::GptNeoX => gpt_neox_part(part, query),
            Architecture::Llama | Architecture::Qwen2 => {
                let (name, heads) = llama_part(part, query, key_value)?;
                // The converter permutes the rows of Llama's queries and keys, but not Qwen2's.
                let moved = heads.filter(|_| self.architecture == Architecture::Llama);
                Some((name, moved.map_or(Layout::Same, |heads| Layout::Interleaved { heads })))
            }
        }
    }
}

fn llama_part(part: &str, query: usize, key_value: usize) -> Option<(&'static str, Option<usize>)> {
    Some(match part {
        "token_embd" => ("model.embed_tokens", None),
        "output_norm" => ("model.norm", None),
        "output" => ("lm_head", None),
        "attn_norm" => ("input_layernorm", None),
        "attn_q" => ("self_attn.q_proj", Some(query)),
        "attn_k" => ("self_attn.k_proj", Some(key_value)),
        "attn_v" => ("self_attn.v_proj", None),
        "attn_output" => ("self_attn.o_proj", None),
        "ffn_norm" => ("post_attention_layernorm", None),
        "ffn_gate" => ("mlp.gate_proj", None),
        "ffn_up" => ("mlp.up_proj", None),
        "ffn_down" => ("mlp.down_proj", None),
        _ => return None,
    })
}

fn gpt2_part(part: &str) -> Option<(&'static str, Layout)> {
    Some(match part {
        "token_embd" => ("transformer.wte", Layout::Same),
        "position_embd" => ("transformer.wpe", Layout::Same),
        "output_norm" => ("transformer.ln_f", Layout::Same),
        "output" => ("lm_head", Layout::Same),
        "attn_norm" => ("ln_1", Layout::Same),
        "attn_qkv" => ("attn.c_attn", Layout::Transposed),
        "attn_output" => ("attn.c_proj", Layout::Transposed),
        "ffn_norm" => ("ln_2", Layout::Same),
        "ffn_up" => ("mlp.c_fc", Layout::Transposed),
        "ffn_down" => ("mlp.c_proj", Layout::Transposed),
        _ => return None,
    })
}

fn gpt_neox_part(part: &str, heads: usize) -> Option<(&'static str, Layout)> {
    Some(match part {
        "token_embd" => ("gpt_neox.embed_in", Layout::Same),
        "output_norm" => ("gpt_neox.final_layer_norm", Layout::Same),
        "output" => ("embed_out", Layout::Same),
        "attn_norm" => ("input_layernorm", Layout::Same),
        "attn_qkv" => ("attention.query_key_value", Layout::Blocks { heads }),
        "attn_output" => ("attention.dense", Layout::Same),
        "ffn_norm" => ("post_attention_layernorm", Layout::Same),
        "ffn_up" => ("mlp.dense_h_to_4h", Layout::Same),
        "ffn_down" => ("mlp.dense_4h_to_h", Layout::Same),
        _ => return None,
    })
}
