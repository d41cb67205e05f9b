//! The handling of each key of a GGUF file's metadata.
//!
//! Keys of the architecture (`llama.*`) are model settings: each key that gguf declares is followed, harmless, or
//! refused by name where its value would change the output; unknown ones are refused too. A family may follow further keys
//! ([`GgufFamily`]). `general.*`, `tokenizer.*`,
//! `split.*` and `imatrix.*` describe the file; they are read where needed.

use serde_json::Value;

use super::header::{Header, Meta};
use crate::ModelError;
use crate::causal::GgufFamily;
use crate::fields::table::{
    SettingHandling, SettingHandling::Harmless, SettingHandling::Honoured, Table, find, is_nothing, refused,
    refused_unless_true,
};

/// A factor: a value of one has no effect.
const fn factor(what: &'static str) -> SettingHandling {
    SettingHandling::Refused { what, is_off: |value| is_nothing(value) || value.as_f64() == Some(1.0) }
}

/// Sections of rotary dimensions: sizes of zero have no effect.
const fn sections(what: &'static str) -> SettingHandling {
    SettingHandling::Refused {
        what,
        is_off: |value| is_nothing(value) || value.as_array().is_some_and(|l| l.iter().all(is_nothing)),
    }
}

const EXPERTS: SettingHandling = refused("a mixture of experts");
const RECURRENT: SettingHandling = refused("a recurrent layer");
const LATENT: SettingHandling = refused("attention through latent vectors");
const WINDOW: SettingHandling = refused("sliding-window attention");

/// The keys of an architecture, with `{arch}` for its name.
const KEYS: Table = &[
    ("{arch}.activation_sparsity_scale", refused("sparse activations")),
    ("{arch}.altup.active_idx", refused("alternating updates")),
    ("{arch}.altup.num_inputs", refused("alternating updates")),
    ("{arch}.attention.causal", refused_unless_true("attention in both directions")),
    ("{arch}.attention.clamp_kqv", refused("clamped queries, keys and values")),
    ("{arch}.attention.decay_lora_rank", RECURRENT),
    ("{arch}.attention.gate_lora_rank", RECURRENT),
    ("{arch}.attention.group_norm_epsilon", refused("group norms")),
    ("{arch}.attention.group_norm_groups", refused("group norms")),
    ("{arch}.attention.head_count", Honoured),
    ("{arch}.attention.head_count_kv", Honoured),
    ("{arch}.attention.iclr_lora_rank", RECURRENT),
    ("{arch}.attention.indexer.head_count", refused("an indexer")),
    ("{arch}.attention.indexer.key_length", refused("an indexer")),
    ("{arch}.attention.indexer.top_k", refused("an indexer")),
    ("{arch}.attention.key_length", Honoured),
    ("{arch}.attention.key_length_mla", LATENT),
    ("{arch}.attention.key_length_swa", WINDOW),
    ("{arch}.attention.kv_lora_rank", LATENT),
    ("{arch}.attention.layer_norm_epsilon", Honoured),
    ("{arch}.attention.layer_norm_rms_epsilon", Honoured),
    ("{arch}.attention.max_alibi_bias", refused("ALiBi")),
    ("{arch}.attention.output_scale", factor("scaled attention")),
    ("{arch}.attention.q_lora_rank", LATENT),
    ("{arch}.attention.relative_buckets_count", refused("relative positions")),
    ("{arch}.attention.scale", refused("a scale of attention of its own")),
    ("{arch}.attention.shared_kv_layers", refused("keys and values shared by layers")),
    ("{arch}.attention.sliding_window", WINDOW),
    ("{arch}.attention.sliding_window_pattern", WINDOW),
    ("{arch}.attention.temperature_length", refused("a temperature of attention")),
    ("{arch}.attention.temperature_scale", refused("a temperature of attention")),
    ("{arch}.attention.value_length", Honoured),
    ("{arch}.attention.value_length_mla", LATENT),
    ("{arch}.attention.value_length_swa", WINDOW),
    ("{arch}.attention.value_residual_mix_lora_rank", RECURRENT),
    ("{arch}.attn_logit_softcapping", refused("soft caps of logits")),
    ("{arch}.block_count", Honoured),
    ("{arch}.classifier.output_labels", refused("a classifier's head")),
    ("{arch}.context_length", Honoured),
    ("{arch}.convnext.block_count", refused("convolutions")),
    ("{arch}.convnext.embedding_length", refused("convolutions")),
    ("{arch}.decoder_block_count", refused("an encoder beside the decoder")),
    ("{arch}.decoder_start_token_id", refused("an encoder beside the decoder")),
    ("{arch}.embedding_length", Honoured),
    ("{arch}.embedding_length_out", refused("an output of another width")),
    ("{arch}.embedding_length_per_layer_input", refused("embeddings of each layer")),
    ("{arch}.embedding_scale", factor("scaled embeddings")),
    ("{arch}.expert_chunk_feed_forward_length", EXPERTS),
    ("{arch}.expert_count", EXPERTS),
    ("{arch}.expert_feed_forward_length", EXPERTS),
    ("{arch}.expert_gating_func", EXPERTS),
    ("{arch}.expert_group_count", EXPERTS),
    ("{arch}.expert_group_scale", EXPERTS),
    ("{arch}.expert_group_used_count", EXPERTS),
    ("{arch}.expert_shared_count", EXPERTS),
    ("{arch}.expert_shared_feed_forward_length", EXPERTS),
    ("{arch}.expert_used_count", EXPERTS),
    ("{arch}.expert_weights_norm", EXPERTS),
    ("{arch}.expert_weights_scale", EXPERTS),
    ("{arch}.experts_per_group", EXPERTS),
    ("{arch}.features_length", refused("inputs that are no tokens")),
    ("{arch}.feed_forward_length", Honoured),
    ("{arch}.final_logit_softcapping", refused("soft caps of logits")),
    ("{arch}.full_attention_interval", refused("layers of several kinds")),
    ("{arch}.interleave_moe_layer_step", EXPERTS),
    ("{arch}.kda.head_dim", RECURRENT),
    ("{arch}.leading_dense_block_count", EXPERTS),
    ("{arch}.logit_scale", factor("scaled logits")),
    ("{arch}.moe_every_n_layers", EXPERTS),
    ("{arch}.moe_latent_size", EXPERTS),
    ("{arch}.n_deepstack_layers", refused("pictures")),
    ("{arch}.nextn_predict_layers", refused("layers that predict further tokens")),
    // For embedding models: the pooling of a text's states.
    ("{arch}.pooling_type", Harmless),
    ("{arch}.posnet.block_count", refused("convolutions")),
    ("{arch}.posnet.embedding_length", refused("convolutions")),
    ("{arch}.rescale_every_n_layers", refused("rescaled layers")),
    ("{arch}.residual_scale", factor("scaled residuals")),
    ("{arch}.rope.dimension_count", Honoured),
    ("{arch}.rope.dimension_count_swa", WINDOW),
    ("{arch}.rope.dimension_sections", sections("rotary sections")),
    ("{arch}.rope.freq_base", Honoured),
    ("{arch}.rope.freq_base_swa", WINDOW),
    ("{arch}.rope.scale_linear", Honoured),
    ("{arch}.rope.scaling.alpha", factor("rotary scaling by alpha")),
    ("{arch}.rope.scaling.attn_factor", factor("scaled attention")),
    ("{arch}.rope.scaling.factor", Honoured),
    ("{arch}.rope.scaling.finetuned", Harmless),
    // For YaRN, like the betas below.
    ("{arch}.rope.scaling.original_context_length", Honoured),
    ("{arch}.rope.scaling.type", Honoured),
    ("{arch}.rope.scaling.yarn_attn_factor", factor("YaRN")),
    ("{arch}.rope.scaling.yarn_beta_fast", Honoured),
    ("{arch}.rope.scaling.yarn_beta_slow", Honoured),
    ("{arch}.rope.scaling.yarn_ext_factor", refused("YaRN")),
    ("{arch}.rope.scaling.yarn_log_multiplier", refused("YaRN")),
    ("{arch}.router_logit_softcapping", EXPERTS),
    ("{arch}.shortconv.l_cache", refused("convolutions")),
    ("{arch}.ssm.conv_kernel", RECURRENT),
    ("{arch}.ssm.dt_b_c_rms", RECURRENT),
    ("{arch}.ssm.group_count", RECURRENT),
    ("{arch}.ssm.inner_size", RECURRENT),
    ("{arch}.ssm.state_size", RECURRENT),
    ("{arch}.ssm.time_step_rank", RECURRENT),
    ("{arch}.swiglu_clamp_exp", refused("clamped activations")),
    ("{arch}.swiglu_clamp_shexp", refused("clamped activations")),
    ("{arch}.swin_norm", refused("norms behind the layers")),
    // The original order of query and key rows; in the file they are in llama.cpp's order anyway.
    ("{arch}.tensor_data_layout", Harmless),
    ("{arch}.time_decay_extra_dim", RECURRENT),
    ("{arch}.time_mix_extra_dim", RECURRENT),
    ("{arch}.token_shift_count", RECURRENT),
    ("{arch}.use_parallel_residual", Honoured),
    // The vocabulary size is taken from the embedding's rows.
    ("{arch}.vocab_size", Harmless),
    ("{arch}.wkv.head_size", RECURRENT),
    ("{arch}.{dense}_feat_in", refused("layers behind the decoder")),
    ("{arch}.{dense}_feat_out", refused("layers behind the decoder")),
];

/// Key prefixes of other kinds of files.
const OTHER_FILES: [(&str, &str); 4] = [
    ("adapter.", "an adapter"),
    ("clip.", "an encoder of pictures or sounds"),
    ("diffusion.", "a diffusion model"),
    ("xielu.", "the activation xIELU"),
];

/// Key prefixes of metadata that describes the file.
#[cfg(test)]
const DESCRIBING: [&str; 4] = ["general.", "tokenizer.", "split.", "imatrix."];

/// Refuses unsupported settings that would change the output.
///
/// # Errors
/// Such a setting, by name.
pub(super) fn check(header: &Header, gguf: &GgufFamily) -> Result<(), ModelError> {
    for (key, meta) in &header.metadata {
        if let Some((_, what)) = OTHER_FILES.iter().find(|(start, _)| key.starts_with(start)) {
            return Err(ModelError::config(key, format!("{what}, which is not supported")));
        }
        let Some(setting) = key.strip_prefix(gguf.architecture).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        if gguf.keys.contains(&setting) {
            continue;
        }
        let value = value_of(meta);
        match find(&[KEYS], &format!("{{arch}}.{setting}")) {
            Some(SettingHandling::Refused { what, is_off }) if !is_off(&value) => {
                return Err(ModelError::config(key, format!("{what} is not supported")));
            }
            None if !is_nothing(&value) => {
                let reason = format!("is {value}, a setting that is not known here and may change the model's numbers");
                return Err(ModelError::config(key, reason));
            }
            _ => {}
        }
    }
    Ok(())
}

fn value_of(meta: &Meta) -> Value {
    match meta {
        Meta::Integer(n) => Value::from(*n),
        Meta::Float(n) => Value::from(*n),
        Meta::Bool(flag) => Value::from(*flag),
        Meta::Text(text) => Value::from(text.as_str()),
        Meta::Integers(list) => Value::from(list.as_slice()),
        Meta::Floats(list) => Value::from(list.as_slice()),
        Meta::Texts(list) => Value::from(list.as_slice()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_gguf_declares_is_known() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/settings/settings.json");
        let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let keys = golden["classes"]["gguf"].as_array().unwrap();
        assert!(keys.len() > 100);
        let is_known = |key: &str| {
            DESCRIBING.iter().any(|start| key.starts_with(start))
                || OTHER_FILES.iter().any(|(start, _)| key.starts_with(start))
                || find(&[KEYS], key).is_some()
        };
        let unknown: Vec<_> = keys.iter().filter_map(Value::as_str).filter(|key| !is_known(key)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
