//! Converts GGUF metadata to a Hugging Face config.

use serde_json::{Value, json};

use super::header::{Header, Meta};
use super::keys;
use crate::ModelError;
use crate::causal::{Family, GgufFamily, GgufSizes, GgufValue, of_gguf};

/// The metadata of one family, with typed reads.
pub(super) struct Settings<'a> {
    header: &'a Header,
    /// The family.
    pub(super) family: &'static Family,
    /// What its files say.
    pub(super) gguf: &'static GgufFamily,
}

impl<'a> Settings<'a> {
    /// Detects the family.
    ///
    /// # Errors
    /// No architecture, or an unsupported one.
    pub(super) fn new(header: &'a Header) -> Result<Self, ModelError> {
        let name = match header.metadata.get("general.architecture") {
            Some(Meta::Text(name)) => name.as_str(),
            _ => return Err(ModelError::config("general.architecture", "missing; this GGUF file is not a model")),
        };
        let (family, gguf) = of_gguf(name)?;
        Ok(Self { header, family, gguf })
    }

    /// The equivalent Hugging Face config; `factors` are those of LongRoPE, short and long.
    ///
    /// # Errors
    /// A missing or invalid setting, or an unsupported variant of the architecture.
    pub(super) fn config(&self, tied: bool, factors: Option<&[Vec<f32>; 2]>) -> Result<Value, ModelError> {
        keys::check(self.header, self.gguf)?;
        let vocabulary = self.header.tensors.get("token_embd.weight").map(|info| info.shape[0]);
        let Some(vocabulary) = vocabulary else {
            return Err(ModelError::config("token_embd.weight", "the file has no such tensor"));
        };
        let mut config = match self.gguf.sizes {
            GgufSizes::Grouped => self.grouped(factors)?,
            GgufSizes::Gpt2 => self.gpt2()?,
            GgufSizes::GptNeoX => self.gpt_neox()?,
        };
        config["vocab_size"] = json!(vocabulary);
        config["tie_word_embeddings"] = json!(tied);
        Ok(config)
    }

    fn grouped(&self, factors: Option<&[Vec<f32>; 2]>) -> Result<Value, ModelError> {
        let width = self.size("embedding_length")?;
        let heads = self.size("attention.head_count")?;
        let head_size = self.head_size(width / heads.max(1))?;
        let mut config = json!({
            "model_type": self.family.model_type(),
            "hidden_size": width,
            "intermediate_size": self.size("feed_forward_length")?,
            "num_hidden_layers": self.size("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.optional("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": head_size,
            "max_position_embeddings": self.size("context_length")?,
            "rms_norm_eps": self.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
        });
        for &(key, value) in self.gguf.settings {
            match value {
                GgufValue::Rotary => self.add_rotary(&mut config)?,
                GgufValue::LayeredRotary => {
                    self.add_rotary(&mut config)?;
                    config["rope_local_base_freq"] = json!(self.number("rope.freq_base_swa")?.unwrap_or(10_000.0));
                }
                GgufValue::LongRotary => self.add_long(&mut config, head_size, factors)?,
                GgufValue::QueryScalar(n_layers) => {
                    let is_largest = self.size("block_count")? == n_layers;
                    config[key] = json!(if is_largest { width / heads.max(1) } else { head_size });
                }
                GgufValue::Text(text) => config[key] = json!(text),
                GgufValue::Number(name) => config[key] = self.any_number(name)?,
                GgufValue::NumberOr(name, default) => {
                    config[key] = json!(self.any_number(name)?.as_f64().unwrap_or(default));
                }
                GgufValue::HasTensor(name) => config[key] = json!(self.header.tensors.contains_key(name)),
                GgufValue::Off => config[key] = json!(false),
            }
        }
        Ok(config)
    }

    /// The size of a head, which queries, keys, values and, unless a share rotates, the rotary embedding have in common.
    fn head_size(&self, otherwise: usize) -> Result<usize, ModelError> {
        let head_size = self.optional("attention.key_length")?.unwrap_or(otherwise);
        let rotates_a_share = self.gguf.settings.iter().any(|(_, value)| matches!(value, GgufValue::LongRotary));
        let whole = (!rotates_a_share).then_some("rope.dimension_count");
        for key in ["attention.value_length"].into_iter().chain(whole) {
            if self.optional(key)?.is_some_and(|n| n != head_size) {
                return Err(ModelError::config(self.key(key), format!("must be the size of a head, {head_size}")));
            }
        }
        Ok(head_size)
    }

    /// Adds the rotary base and scaling.
    fn add_rotary(&self, config: &mut Value) -> Result<(), ModelError> {
        config["rope_theta"] = json!(self.number("rope.freq_base")?.unwrap_or(10_000.0));
        if let Some(scaling) = self.scaling()? {
            config["rope_scaling"] = scaling;
        }
        Ok(())
    }

    /// Adds the rotary base, the share of coordinates that rotate, and the factors of LongRoPE.
    fn add_long(
        &self,
        config: &mut Value,
        head_size: usize,
        factors: Option<&[Vec<f32>; 2]>,
    ) -> Result<(), ModelError> {
        config["partial_rotary_factor"] = json!(self.rotary_share(head_size)?);
        config["rope_theta"] = json!(self.number("rope.freq_base")?.unwrap_or(10_000.0));
        let Some([short, long]) = factors else { return Ok(()) };
        let mut scaling =
            json!({ "rope_type": "longrope", "type": "longrope", "short_factor": short, "long_factor": long });
        if let Some(magnitude) = self.number("rope.scaling.attn_factor")? {
            scaling["attention_factor"] = json!(magnitude);
        }
        config["rope_scaling"] = scaling;
        Ok(())
    }

    /// The scaling of rotary frequencies, if there is one.
    fn scaling(&self) -> Result<Option<Value>, ModelError> {
        let kind = match self.meta("rope.scaling.type") {
            None => "linear",
            Some(Meta::Text(kind)) => kind,
            Some(other) => return Err(self.wrong("rope.scaling.type", "a name", other)),
        };
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        let context = "rope.scaling.original_context_length";
        match (kind, factor.filter(|f| *f != 0.0 && *f != 1.0)) {
            ("none", _) | (_, None) => Ok(None),
            ("linear", factor) => Ok(Some(json!({ "rope_type": "linear", "type": "linear", "factor": factor }))),
            ("yarn", factor) => Ok(Some(json!({
                "rope_type": "yarn",
                "type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": self.size(context)?,
                "beta_fast": self.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                "beta_slow": self.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            }))),
            (other, _) => {
                let reason = format!("rotary scaling `{other}` is not supported; supported: none, linear, yarn");
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
        let parallel = match self.meta("use_parallel_residual") {
            None => true,
            Some(Meta::Bool(parallel)) => *parallel,
            Some(other) => return Err(self.wrong("use_parallel_residual", "true or false", other)),
        };
        let mut config = json!({
            "model_type": "gpt_neox",
            "hidden_size": width,
            "intermediate_size": self.size("feed_forward_length")?,
            "num_hidden_layers": self.size("block_count")?,
            "num_attention_heads": heads,
            "hidden_act": "gelu",
            "max_position_embeddings": self.size("context_length")?,
            "layer_norm_eps": self.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5),
            "rotary_pct": self.rotary_share(width / heads.max(1))?,
            "rotary_emb_base": self.number("rope.freq_base")?.unwrap_or(10_000.0),
            "use_parallel_residual": parallel,
        });
        if let Some(scaling) = self.scaling()? {
            config["rope_scaling"] = scaling;
        }
        Ok(config)
    }

    /// The share of a head's coordinates that rotate.
    fn rotary_share(&self, head_size: usize) -> Result<f64, ModelError> {
        let rotated = self.optional("rope.dimension_count")?.unwrap_or(head_size);
        if !rotated.is_multiple_of(2) {
            // llama.cpp and transformers would rotate different pairs.
            let reason = format!("{rotated} coordinates of a head cannot turn in pairs");
            return Err(ModelError::config(self.key("rope.dimension_count"), reason));
        }
        let share = rotated as f64 / head_size.max(1) as f64;
        // Rounding must not lose a coordinate.
        let is_kept = (head_size as f64 * share) as usize == rotated;
        Ok(if is_kept { share } else { (rotated as f64 + 0.5) / head_size.max(1) as f64 })
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.gguf.architecture)
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

    /// A number of either kind; null without the key and for 0, which switches a setting off.
    fn any_number(&self, key: &str) -> Result<Value, ModelError> {
        Ok(match self.meta(key) {
            Some(Meta::Integer(0)) => Value::Null,
            Some(Meta::Integer(n)) => json!(n),
            _ => self.number(key)?.filter(|number| *number != 0.0).map_or(Value::Null, |number| json!(number)),
        })
    }
}
