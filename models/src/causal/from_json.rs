//! Reading of a configuration from `config.json`, with its checks.

use serde_json::Value;

use super::config::CausalConfig;
use super::rotary::Rotary;
use super::{families, settings};
use crate::ModelError;
use crate::fields::Fields;

impl CausalConfig {
    /// Reads and checks the contents of a `config.json`.
    ///
    /// # Errors
    /// An unsupported family, activation, rotary scaling or attention variant, a missing or invalid size; each names the
    /// key.
    pub fn from_json(source: Value) -> Result<Self, ModelError> {
        if !source.is_object() {
            return Err(ModelError::config("config.json", "the file must hold an object"));
        }
        let fields = Fields::new(&source);
        let named = fields.required_text("model_type")?;
        // As transformers' automatic class: older files of Ministral call themselves Mistral.
        let is_ministral = named == "mistral" && source.get("layer_types").is_some();
        let (family, read) = families::of_type(if is_ministral { "ministral" } else { &named })?;
        settings::check(family, &source)?;
        let mut config = read(fields)?;
        config.check_heads()?;
        // LongRoPE has other factors for all tokens of longer texts; these stay within the context of the short ones.
        let reach = [&config.rotary, &config.local_rotary].into_iter().flatten().filter_map(Rotary::reach).min();
        config.max_positions = reach.map_or(config.max_positions, |reach| config.max_positions.min(reach));
        config.source = source;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::causal::Activation;

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
    fn mistral_with_kinds_of_layers_is_ministral() {
        let mistral = with(with(llama(), "model_type", json!("mistral")), "sliding_window", json!(4));
        let windows = |source: Value| -> Vec<_> {
            let config = CausalConfig::from_json(source).unwrap();
            (0..2).map(|layer| config.layers.at(layer).window).collect()
        };
        let kinds = json!(["full_attention", "sliding_attention"]);
        assert_eq!(windows(mistral.clone()), [Some(4), Some(4)]);
        assert_eq!(windows(with(mistral, "layer_types", kinds)), [None, Some(4)]);
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
        check_error(with(llama(), "rope_scaling", json!({ "type": "axial", "factor": 2.0 })), "axial");
        check_error(with(llama(), "hidden_size", Value::Null), "hidden_size");
        check_error(with(llama(), "hidden_size", json!(-3)), "hidden_size");
        check_error(with(llama(), "num_key_value_heads", json!(3)), "3 key and value heads");
        check_error(with(llama(), "num_attention_heads", json!(5)), "not a multiple of 5 heads");
        check_error(with(llama(), "rms_norm_eps", json!("small")), "rms_norm_eps");
        check_error(json!([1]), "object");
    }
}
