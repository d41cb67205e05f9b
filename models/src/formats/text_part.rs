//! The language model inside a model of texts and pictures, which transformers keeps with its config and tensors nested.

use serde_json::{Value, json};

/// What transformers takes for sizes that a nested Gemma 3 config leaves out, as the published ones do.
const GEMMA3: [(&str, u64); 5] = [
    ("vocab_size", 262_208),
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
];

/// Replaces the config of a Gemma 3 of texts and pictures by that of its language model; whether it was one.
pub(super) fn unwrap(config: &mut Value) -> bool {
    if config["model_type"] != "gemma3" || !config["text_config"].is_object() {
        return false;
    }
    let mut text = config["text_config"].take();
    for (key, size) in GEMMA3 {
        if text[key].is_null() {
            text[key] = json!(size);
        }
    }
    text["model_type"] = json!("gemma3_text");
    // The class of texts and pictures does not bound its logits, whatever the nested config says.
    text["final_logit_softcapping"] = Value::Null;
    // The class stays that of a reward model, if it was one's.
    let is_reward =
        config["architectures"][0].as_str().is_some_and(|class| class.ends_with("ForSequenceClassification"));
    text["architectures"] =
        json!([if is_reward { "Gemma3TextForSequenceClassification" } else { "Gemma3ForCausalLM" }]);
    // The outer config is the one that transformers reads these from.
    for key in ["eos_token_id", "bos_token_id", "pad_token_id", "dtype", "torch_dtype", "quantization_config"] {
        if let Some(value) = config.get(key).filter(|value| !value.is_null()) {
            text[key] = value.clone();
        }
    }
    text["tie_word_embeddings"] = json!(config["tie_word_embeddings"].as_bool().unwrap_or(true));
    *config = text;
    true
}

/// The name of a nested model's tensor without the nesting; `None` for tensors of the picture's part.
pub(super) fn name(stored: &str) -> Option<String> {
    let inner = stored.strip_prefix("model.").unwrap_or(stored);
    if inner.starts_with("vision_tower.") || inner.starts_with("multi_modal_projector.") {
        return None;
    }
    // The older files have `language_model.model.layers`, transformers 5's memory `model.language_model.layers`.
    Some(match (stored.strip_prefix("language_model."), stored.strip_prefix("model.language_model.")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => format!("model.{name}"),
        (None, None) => stored.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_model_comes_out_with_what_stands_outside() {
        let mut config = json!({ "model_type": "gemma3", "eos_token_id": [1, 106], "vision_config": {},
            "text_config": { "hidden_size": 64, "num_hidden_layers": 2, "eos_token_id": 1, "final_logit_softcapping": 2.0 } });
        assert!(unwrap(&mut config));
        assert_eq!((&config["eos_token_id"], &config["hidden_size"]), (&json!([1, 106]), &json!(64)));
        assert_eq!((&config["num_attention_heads"], &config["tie_word_embeddings"]), (&json!(8), &json!(true)));
        assert!(config["final_logit_softcapping"].is_null() && !unwrap(&mut config));
    }

    #[test]
    fn names_lose_their_nesting() {
        for (stored, expected) in [
            ("language_model.model.norm.weight", Some("model.norm.weight")),
            ("model.language_model.norm.weight", Some("model.norm.weight")),
            ("language_model.lm_head.weight", Some("lm_head.weight")),
            ("lm_head.weight", Some("lm_head.weight")),
            ("vision_tower.vision_model.head", None),
            ("model.multi_modal_projector.mm_soft_emb_norm.weight", None),
        ] {
            assert_eq!(name(stored).as_deref(), expected);
        }
    }
}
