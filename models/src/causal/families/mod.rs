//! The supported families, one file each.
//!
//! A file has the handling of each setting, the reader, and a `Family` with the names of the tensors and the switches that
//! differ from Llama's. A family that needs no new switch is such a file, a line in `FAMILIES`, and a golden case.

mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod gpt_neox;
mod granite;
mod llama;
mod ministral;
mod mistral;
mod olmo2;
mod olmo3;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;

use engine::ops::LogitForm;

use super::common::Defaults;
use super::config::{CausalConfig, Scales};
use super::family::{Family, GgufFamily, TensorNames};
use crate::ModelError;
use crate::fields::{Fields, nearest_first};

/// A reader of a family's `config.json`.
pub(crate) type ReadConfig = fn(Fields<'_>) -> Result<CausalConfig, ModelError>;

/// All families, each with its reader.
pub(crate) static FAMILIES: &[(&Family, ReadConfig)] = &[
    (&gpt_neox::FAMILY, gpt_neox::read),
    (&gpt2::FAMILY, gpt2::read),
    (&llama::FAMILY, llama::read),
    (&qwen2::FAMILY, qwen2::read),
    (&qwen3::FAMILY, qwen3::read),
    (&mistral::FAMILY, mistral::read),
    (&ministral::FAMILY, ministral::read),
    (&smollm3::FAMILY, smollm3::read),
    (&gemma::FAMILY, gemma::read),
    (&gemma2::FAMILY, gemma2::read),
    (&gemma3::FAMILY, gemma3::read),
    (&granite::FAMILY, granite::read),
    (&olmo2::FAMILY, olmo2::read),
    (&olmo3::FAMILY, olmo3::read),
    (&phi3::FAMILY, phi3::read),
];

/// The family with this `model_type`, and its reader.
///
/// # Errors
/// None: the message names the supported ones, the nearest names first.
pub(super) fn of_type(found: &str) -> Result<(&'static Family, ReadConfig), ModelError> {
    FAMILIES.iter().copied().find(|(family, _)| family.model_type == found).ok_or_else(|| {
        let names: Vec<&str> = FAMILIES.iter().map(|(family, _)| family.model_type).collect();
        ModelError::Architecture { found: found.to_owned(), supported: nearest_first(found, &names) }
    })
}

/// The family whose GGUF files have this architecture, and what is in them.
///
/// # Errors
/// None: the message names the supported ones, the nearest names first.
pub(crate) fn of_gguf(found: &str) -> Result<(&'static Family, &'static GgufFamily), ModelError> {
    let all = || FAMILIES.iter().filter_map(|(family, _)| Some((*family, family.gguf?)));
    all().find(|(_, gguf)| gguf.architecture == found).ok_or_else(|| {
        let names: Vec<&str> = all().map(|(_, gguf)| gguf.architecture).collect();
        ModelError::Architecture { found: found.to_owned(), supported: nearest_first(found, &names) }
    })
}

/// The names of Gemma 2 and later ones, with norms before and behind attention and MLP.
const GEMMA_NAMES: TensorNames = TensorNames {
    after_attention: Some("post_attention_layernorm"),
    mlp_norm: Some("pre_feedforward_layernorm"),
    after_mlp: Some("post_feedforward_layernorm"),
    ..TensorNames::LLAMA
};

/// The names of OLMo 2 and 3, with norms behind attention and MLP only.
const OLMO_NAMES: TensorNames = TensorNames { attention_norm: None, mlp_norm: None, ..GEMMA_NAMES.with_head_norms() };

/// What Gemma's classes take where a file says nothing.
fn gemma_defaults(max_positions: usize) -> Defaults {
    Defaults {
        max_positions,
        bos: Some(2),
        eos: Some(1),
        tied: true,
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        head_size: Some(256),
        key_value_heads: Some(4),
        ..Defaults::LLAMA
    }
}

/// Gemma's factors: the root of the width for the embedding, a divisor of its own for queries.
fn gemma_scales(fields: Fields<'_>, width: usize, cap: Option<f64>) -> Result<Scales, ModelError> {
    let divisor = fields.positive("query_pre_attn_scalar", 256.0)?;
    Ok(Scales {
        embedding: (width as f64).sqrt(),
        attention: Some(divisor.powf(-0.5)),
        logits: LogitForm { cap, ..LogitForm::PLAIN },
        ..Scales::PLAIN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_is_not_built_is_named_with_the_nearest_that_are() {
        let message = |found: &str| of_type(found).unwrap_err().to_string();
        assert!(message("gemma4_text").contains("supported: gemma3_text (nearest), "), "{}", message("gemma4_text"));
        assert!(message("qwen3_moe").contains("supported: qwen3 (nearest), "), "{}", message("qwen3_moe"));
        assert!(!message("mamba").contains("nearest"), "{}", message("mamba"));
        assert!(of_gguf("gemma4").unwrap_err().to_string().contains("gemma3"));
        assert_eq!(of_type("olmo2").unwrap().0.class, "Olmo2ForCausalLM");
    }

    #[test]
    fn every_family_has_a_name_of_its_own() {
        for (index, (family, _)) in FAMILIES.iter().enumerate() {
            assert!(FAMILIES[..index].iter().all(|(other, _)| other.model_type != family.model_type));
        }
    }
}
