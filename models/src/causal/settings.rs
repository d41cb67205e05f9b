//! The handling of each setting of a `config.json`.
//!
//! The rule: a setting that transformers' class of the architecture declares is followed, harmless, or refused by name.
//! So are settings that transformers uses for every class, such as `quantization_config`. transformers stores other
//! settings on the config, but no code of that class reads them (a `sliding_window` in a Llama,
//! `attn_logit_softcapping` in a Qwen2): they are ignored here too, and [`CausalConfig::ignored_settings`] lists them.

use serde_json::Value;

use super::config::CausalConfig;
use super::family::Family;
use crate::ModelError;
use crate::fields::table::{
    SettingHandling::Harmless, SettingHandling::Honoured, Table, first_refused, is_nothing, refused, unknown,
};

/// Settings common to all classes, and those that transformers reads although no class declares them.
pub(super) const COMMON: Table = &[
    ("_name_or_path", Harmless),
    ("architectures", Honoured),
    ("bos_token_id", Honoured),
    ("chunk_size_feed_forward", Harmless),
    ("compression_config", refused("compressed weights")),
    ("cross_attention_hidden_size", Harmless),
    ("dtype", Harmless),
    ("eos_token_id", Honoured),
    ("id2label", Harmless),
    ("initializer_range", Honoured),
    ("is_encoder_decoder", refused("an encoder beside the decoder")),
    ("label2id", Harmless),
    ("model_type", Honoured),
    ("num_labels", Harmless),
    ("output_attentions", Harmless),
    ("output_hidden_states", Harmless),
    ("pad_token_id", Honoured),
    ("per_layer_config", refused("layers with settings of their own")),
    ("problem_type", Harmless),
    ("pruned_heads", refused("pruned heads")),
    ("return_dict", Harmless),
    ("tie_last_hidden_states", Harmless),
    ("tie_word_embeddings", Honoured),
    ("torch_dtype", Harmless),
    ("transformers_version", Harmless),
    ("use_cache", Harmless),
    ("vocab_size", Honoured),
];

/// Generation settings that older versions kept here, which do not affect the model's output; and metadata of tools.
const LEFT_BEHIND: Table = &[
    ("_commit_hash", Harmless),
    ("attn_implementation", Harmless),
    ("auto_map", Harmless),
    ("unsloth_fixed", Harmless),
    ("unsloth_version", Harmless),
];

/// Rotary settings in every supported spelling.
pub(super) const ROTARY: Table =
    &[("original_max_position_embeddings", Honoured), ("rope_parameters", Honoured), ("rope_scaling", Honoured)];

/// A `generation_config.json`: its special tokens are used; sampling parameters come from the flags of `sample`, and
/// the file is copied with the model.
const GENERATION: Table = &[
    ("_from_model_config", Harmless),
    ("assistant_confidence_threshold", Harmless),
    ("assistant_early_exit", Harmless),
    ("assistant_ensemble_weight", Harmless),
    ("assistant_lookbehind", Harmless),
    ("bad_words_ids", Harmless),
    ("begin_suppress_tokens", Harmless),
    ("bos_token_id", Honoured),
    ("cache_config", Harmless),
    ("cache_implementation", Harmless),
    ("compile_config", Harmless),
    ("constraints", Harmless),
    ("continuous_batching_config", Harmless),
    ("decoder_start_token_id", Harmless),
    ("disable_compile", Harmless),
    ("diversity_penalty", Harmless),
    ("do_sample", Harmless),
    ("dola_layers", Harmless),
    ("early_stopping", Harmless),
    ("encoder_no_repeat_ngram_size", Harmless),
    ("encoder_repetition_penalty", Harmless),
    ("eos_token_id", Honoured),
    ("epsilon_cutoff", Harmless),
    ("eta_cutoff", Harmless),
    ("exponential_decay_length_penalty", Harmless),
    ("force_words_ids", Harmless),
    ("forced_bos_token_id", Harmless),
    ("forced_eos_token_id", Harmless),
    ("guidance_scale", Harmless),
    ("is_assistant", Harmless),
    ("length_penalty", Harmless),
    ("low_memory", Harmless),
    ("max_cache_len", Harmless),
    ("max_length", Harmless),
    ("max_matching_ngram_size", Harmless),
    ("max_new_tokens", Harmless),
    ("max_time", Harmless),
    ("min_length", Harmless),
    ("min_new_tokens", Harmless),
    ("min_p", Harmless),
    ("no_repeat_ngram_size", Harmless),
    ("num_assistant_tokens", Harmless),
    ("num_assistant_tokens_schedule", Harmless),
    ("num_beam_groups", Harmless),
    ("num_beams", Harmless),
    ("num_return_sequences", Harmless),
    ("output_attentions", Harmless),
    ("output_hidden_states", Harmless),
    ("output_logits", Harmless),
    ("output_scores", Harmless),
    ("pad_token_id", Honoured),
    ("penalty_alpha", Harmless),
    ("prefill_chunk_size", Harmless),
    ("prompt_lookup_num_tokens", Harmless),
    ("remove_invalid_values", Harmless),
    ("renormalize_logits", Harmless),
    ("repetition_penalty", Harmless),
    ("return_dict_in_generate", Harmless),
    ("sequence_bias", Harmless),
    ("speculation_type", Harmless),
    ("stop_strings", Harmless),
    ("suppress_tokens", Harmless),
    ("target_lookbehind", Harmless),
    ("temperature", Harmless),
    ("token_healing", Harmless),
    ("top_h", Harmless),
    ("top_k", Harmless),
    ("top_p", Harmless),
    ("transformers_version", Harmless),
    ("typical_p", Harmless),
    ("use_cache", Harmless),
    ("use_mtp", Harmless),
    ("watermarking_config", Harmless),
];

/// Refuses unsupported settings.
///
/// # Errors
/// Quantised weights, or an unsupported setting that would change the output; each by name.
pub(super) fn check(family: &Family, source: &Value) -> Result<(), ModelError> {
    check_plain(&source["quantization_config"])?;
    match first_refused(family.settings, source) {
        Some((key, what)) => Err(ModelError::config(key, format!("{what} is not supported"))),
        None => Ok(()),
    }
}

/// Refuses quantised weights, with the method in the message.
fn check_plain(quantization: &Value) -> Result<(), ModelError> {
    if is_nothing(quantization) {
        return Ok(());
    }
    let told = ["quant_method", "bits", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "fmt", "format"];
    let told = told.iter().filter(|key| !is_nothing(&quantization[**key]));
    let told: Vec<String> = told.map(|key| format!("{key} {}", quantization[*key])).collect();
    let reason = format!(
        "the weights are quantised ({}), and only F32, F16, BF16 and F64 are read; name the model as it was before, or \
         load it with transformers, call dequantize() and save it again",
        if told.is_empty() { quantization.to_string() } else { told.join(", ") }
    );
    Err(ModelError::config("quantization_config", reason))
}

impl CausalConfig {
    /// The settings in the file that transformers' class of this architecture ignores, and so are ignored here.
    pub fn ignored_settings(&self) -> Vec<String> {
        if self.external.is_some() {
            return Vec::new();
        }
        let mut tables = self.family.settings.to_vec();
        tables.extend([LEFT_BEHIND, GENERATION]);
        let mut ignored: Vec<String> = unknown(&tables, &self.source).into_iter().map(ToOwned::to_owned).collect();
        if !is_nothing(&self.source["rope_scaling"]) && !is_nothing(&self.source["rope_parameters"]) {
            ignored.push("rope_parameters (rope_scaling stands beside it)".to_owned());
        }
        ignored
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::causal::families::FAMILIES;
    use crate::fields::table::check_complete;

    #[test]
    fn every_setting_that_the_libraries_declare_is_in_a_table() {
        for (family, _) in FAMILIES {
            check_complete(family.config_class(), family.settings);
        }
        check_complete("GenerationConfig", &[GENERATION]);
    }

    fn llama(key: &str, value: Value) -> Result<CausalConfig, ModelError> {
        let mut source = json!({ "model_type": "llama", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48 });
        source[key] = value;
        CausalConfig::from_json(source)
    }

    #[test]
    fn what_would_change_the_numbers_is_refused_by_name() {
        let table = [
            (
                "quantization_config",
                json!({ "quant_method": "gptq", "bits": 4 }),
                "quantised (quant_method \"gptq\", bits 4)",
            ),
            ("quantization_config", json!({ "own": 1 }), "quantised ({\"own\":1})"),
            ("compression_config", json!({ "format": "sparse" }), "compressed weights"),
            ("per_layer_config", json!({ "1": { "head_dim": 4 } }), "layers with settings of their own"),
            ("pruned_heads", json!({ "0": [1] }), "pruned heads"),
            ("is_encoder_decoder", json!(true), "an encoder"),
        ];
        for (key, value, expected) in table {
            let message = llama(key, value).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains(expected), "{message}");
        }
        llama("pruned_heads", json!({})).unwrap();
        llama("quantization_config", Value::Null).unwrap();
    }

    #[test]
    fn settings_of_other_families_are_ignored_and_named() {
        let ignored = |key: &str, value: Value| llama(key, value).unwrap().ignored_settings();
        assert_eq!(ignored("sliding_window", json!(4)), ["sliding_window"]);
        assert_eq!(ignored("attn_logit_softcapping", json!(50.0)), ["attn_logit_softcapping"]);
        assert_eq!(ignored("partial_rotary_factor", json!(0.5)), ["partial_rotary_factor"]);
        // Null values, and settings that do not concern the model.
        let silent = [("sliding_window", Value::Null), ("temperature", json!(0.6)), ("auto_map", json!({ "a": "b" }))];
        for (key, value) in silent {
            assert!(ignored(key, value).is_empty(), "{key}");
        }
    }
}
