//! Reading of a configuration from `config.json`, with its checks.

use serde_json::Value;

use super::config::{Activation, Architecture, CausalConfig};
use super::rotary::{Rotary, RotaryKeys};
use super::{settings, windows};
use crate::ModelError;
use crate::fields::Fields;

impl CausalConfig {
    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// An unsupported architecture, activation, rotary scaling or attention variant, a missing or invalid size; each
    /// names the key.
    pub fn from_json(source: Value) -> Result<Self, ModelError> {
        if !source.is_object() {
            return Err(ModelError::config("config.json", "the file must hold an object"));
        }
        let fields = Fields::new(&source);
        let architecture = Architecture::from_model_type(&fields.required_text("model_type")?)?;
        settings::check(architecture, &source)?;
        let mut config = match architecture {
            Architecture::GptNeoX => gpt_neox(fields)?,
            Architecture::Gpt2 => gpt2(fields)?,
            Architecture::Llama | Architecture::Qwen2 => llama_like(fields, architecture)?,
        };
        config.check_heads()?;
        config.source = source;
        Ok(config)
    }
}

/// The head size if none is given; refuses a width that the heads do not divide.
fn head_size(width: usize, heads: usize) -> Result<usize, ModelError> {
    if !width.is_multiple_of(heads) {
        let reason = format!("a width of {width} is not a multiple of {heads} heads");
        return Err(ModelError::config("num_attention_heads", reason));
    }
    Ok(width / heads)
}

fn gpt_neox(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    let width = fields.required_size("hidden_size")?;
    let heads = fields.required_size("num_attention_heads")?;
    let size = head_size(width, heads)?;
    let max_positions = fields.size("max_position_embeddings")?.unwrap_or(2048);
    // transformers computes the rotated coordinates from this key, but the heads without it.
    let turning = fields.size("head_dim")?.unwrap_or(size);
    let attention_bias = fields.flag("attention_bias", true)?;
    Ok(CausalConfig {
        architecture: Architecture::GptNeoX,
        vocabulary: fields.required_size("vocab_size")?,
        width,
        n_layers: fields.required_size("num_hidden_layers")?,
        n_query_heads: heads,
        n_key_value_heads: heads,
        head_size: size,
        inner: fields.required_size("intermediate_size")?,
        max_positions,
        norm_epsilon: fields.positive("layer_norm_eps", 1e-5)?,
        activation: activation(fields, "hidden_act", "gelu")?,
        tied: fields.flag("tie_word_embeddings", false)?,
        parallel_residual: fields.flag("use_parallel_residual", true)?,
        qkv_bias: attention_bias,
        attention_output_bias: attention_bias,
        mlp_bias: true,
        rotary: Some(Rotary::read(fields, RotaryKeys::Partial, turning, max_positions)?),
        bos: fields.token("bos_token_id", Some(0))?,
        eos: fields.tokens("eos_token_id", Some(2))?,
        source: Value::Null,
    })
}

fn gpt2(fields: Fields<'_>) -> Result<CausalConfig, ModelError> {
    // Of two spellings in one file, transformers takes the general one.
    let either = |name: &str, alias: &str| match fields.size(alias)? {
        Some(size) => Ok(Some(size)),
        None => fields.size(name),
    };
    let required = |name: &str, alias: &str| either(name, alias)?.ok_or_else(|| ModelError::config(name, "is missing"));
    let width = required("n_embd", "hidden_size")?;
    let heads = required("n_head", "num_attention_heads")?;
    Ok(CausalConfig {
        architecture: Architecture::Gpt2,
        vocabulary: fields.required_size("vocab_size")?,
        width,
        n_layers: required("n_layer", "num_hidden_layers")?,
        n_query_heads: heads,
        n_key_value_heads: heads,
        head_size: head_size(width, heads)?,
        inner: fields.size("n_inner")?.unwrap_or(4 * width),
        max_positions: either("n_positions", "max_position_embeddings")?.unwrap_or(1024),
        norm_epsilon: fields.positive("layer_norm_epsilon", 1e-5)?,
        activation: activation(fields, "activation_function", "gelu_new")?,
        tied: fields.flag("tie_word_embeddings", true)?,
        parallel_residual: false,
        qkv_bias: true,
        attention_output_bias: true,
        mlp_bias: true,
        rotary: None,
        bos: fields.token("bos_token_id", Some(50_256))?,
        eos: fields.tokens("eos_token_id", Some(50_256))?,
        source: Value::Null,
    })
}

fn llama_like(fields: Fields<'_>, architecture: Architecture) -> Result<CausalConfig, ModelError> {
    let qwen2 = architecture == Architecture::Qwen2;
    let width = fields.required_size("hidden_size")?;
    let heads = fields.required_size("num_attention_heads")?;
    let size = fields.size("head_dim")?.map_or_else(|| head_size(width, heads), Ok)?;
    let attention_bias = !qwen2 && fields.flag("attention_bias", false)?;
    let (max_positions, bos, eos) = if qwen2 { (32_768, None, None) } else { (2048, Some(1), Some(2)) };
    let max_positions = fields.size("max_position_embeddings")?.unwrap_or(max_positions);
    let n_layers = fields.required_size("num_hidden_layers")?;
    if qwen2 {
        windows::refuse_windows(fields, n_layers, max_positions)?;
    }
    Ok(CausalConfig {
        architecture,
        vocabulary: fields.required_size("vocab_size")?,
        width,
        n_layers,
        n_query_heads: heads,
        n_key_value_heads: fields.size("num_key_value_heads")?.unwrap_or(heads),
        head_size: size,
        inner: fields.required_size("intermediate_size")?,
        max_positions,
        norm_epsilon: fields.positive("rms_norm_eps", 1e-6)?,
        activation: activation(fields, "hidden_act", "silu")?,
        tied: fields.flag("tie_word_embeddings", false)?,
        parallel_residual: false,
        qkv_bias: qwen2 || attention_bias,
        attention_output_bias: attention_bias,
        mlp_bias: !qwen2 && fields.flag("mlp_bias", false)?,
        rotary: Some(Rotary::read(fields, RotaryKeys::Whole, size, max_positions)?),
        bos: fields.token("bos_token_id", bos)?,
        eos: fields.tokens("eos_token_id", eos)?,
        source: Value::Null,
    })
}

fn activation(fields: Fields<'_>, key: &str, default: &str) -> Result<Activation, ModelError> {
    Activation::from_name(key, &fields.text(key)?.unwrap_or_else(|| default.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn llama() -> Value {
        json!({ "model_type": "llama", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48 })
    }

    fn with(mut source: Value, key: &str, value: Value) -> Value {
        source[key] = value;
        source
    }

    fn check_error(source: Value, expected: &str) {
        let message = CausalConfig::from_json(source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
        assert!(message.contains(expected), "`{message}` does not say `{expected}`");
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let source = json!({ "model_type": "gpt2", "vocab_size": 96, "n_embd": 16, "n_layer": 1, "n_head": 2 });
        let config = CausalConfig::from_json(source).unwrap();
        assert!(config.tied && config.rotary.is_none());
        assert_eq!((config.inner, config.max_positions, config.activation), (64, 1024, Activation::GeluTanh));
        assert_eq!((config.bos, config.eos), (Some(50_256), vec![50_256]));
        let config = CausalConfig::from_json(with(llama(), "eos_token_id", json!([2, 7]))).unwrap();
        assert_eq!((config.tied, config.qkv_bias, config.eos), (false, false, vec![2, 7]));
        let config = CausalConfig::from_json(with(llama(), "model_type", json!("qwen2"))).unwrap();
        assert!(config.qkv_bias && !config.attention_output_bias && config.eos.is_empty());
    }

    #[test]
    fn of_two_names_of_a_size_the_general_one_counts() {
        let mut source = json!({ "model_type": "gpt2", "vocab_size": 96, "n_embd": 16, "n_layer": 1, "n_head": 2 });
        source["num_attention_heads"] = json!(4);
        source["max_position_embeddings"] = json!(64);
        source["n_positions"] = json!(32);
        let config = CausalConfig::from_json(source).unwrap();
        assert_eq!((config.n_query_heads, config.head_size, config.max_positions), (4, 4, 64));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        check_error(with(llama(), "model_type", json!("mamba")), "supported: gpt_neox, gpt2, llama, qwen2");
        check_error(with(llama(), "hidden_act", json!("relu6")), "relu6");
        check_error(with(llama(), "rope_scaling", json!({ "type": "yarn", "factor": 2.0 })), "yarn");
        check_error(with(llama(), "hidden_size", Value::Null), "hidden_size");
        check_error(with(llama(), "hidden_size", json!(-3)), "hidden_size");
        check_error(with(llama(), "num_key_value_heads", json!(3)), "3 key and value heads");
        check_error(with(llama(), "num_attention_heads", json!(5)), "not a multiple of 5 heads");
        check_error(with(llama(), "rms_norm_eps", json!("small")), "rms_norm_eps");
        check_error(json!([1]), "object");
    }
}
