//! The Hugging Face names of GGUF tensors, and their layouts.

use super::weights::Layout;
use crate::causal::{CausalConfig, GgufFamily, GgufRows, NormKind, Packing, TensorNames};

/// Tensors that are no weights: rotary factors, and frequencies that older converters kept.
const TABLES: [&str; 3] = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// The kind of a tensor, as far as its layout depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Embedding,
    Norm,
    Linear,
    Queries,
    Keys,
    Packed,
}

/// The Hugging Face name of a tensor and its layout in the file; `None` for tensors that are not weights. A tensor that the
/// family does not have keeps its name.
pub(super) fn place(stored: &str, config: &CausalConfig, gguf: &GgufFamily) -> Option<(String, Layout)> {
    if TABLES.contains(&stored) || stored.ends_with(".attn_rot_embd.weight") {
        return None;
    }
    let unknown = || Some((stored.to_owned(), Layout::Same));
    let Some((stem, kind)) = stored.rsplit_once('.') else { return unknown() };
    let names = config.names();
    let (prefix, named) = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) => (format!("{}{}.{layer}.", names.prefix, names.blocks), of_block(part, names)),
        None if stem == "output" => (String::new(), Some((names.head.trim_end_matches(".weight"), Part::Embedding))),
        None => (names.prefix.to_owned(), of_model(stem, names)),
    };
    let Some((name, part)) = named else { return unknown() };
    Some((format!("{prefix}{name}.{kind}"), layout(part, kind, config, gguf)))
}

fn of_model(part: &str, names: &TensorNames) -> Option<(&'static str, Part)> {
    match part {
        "token_embd" => Some((names.embedding, Part::Embedding)),
        "position_embd" => Some((names.positions?, Part::Embedding)),
        "output_norm" => Some((names.final_norm, Part::Norm)),
        _ => None,
    }
}

fn of_block(part: &str, names: &TensorNames) -> Option<(&'static str, Part)> {
    let separate = |index: usize| if names.qkv.len() == 3 { names.qkv.get(index).copied() } else { None };
    Some(match part {
        "attn_norm" => (names.attention_norm?, Part::Norm),
        "attn_q" => (separate(0)?, Part::Queries),
        "attn_k" => (separate(1)?, Part::Keys),
        "attn_v" => (separate(2)?, Part::Linear),
        "attn_qkv" if names.qkv.len() == 1 => (names.qkv[0], Part::Packed),
        "attn_q_norm" => (names.query_norm?, Part::Norm),
        "attn_k_norm" => (names.key_norm?, Part::Norm),
        "attn_output" => (names.attention_output, Part::Linear),
        "post_attention_norm" => (names.after_attention?, Part::Norm),
        "ffn_norm" => (names.mlp_norm?, Part::Norm),
        "ffn_gate" => (names.gate?, Part::Linear),
        "ffn_up" => (names.up, Part::Linear),
        "ffn_down" => (names.down, Part::Linear),
        "post_ffw_norm" => (names.after_mlp?, Part::Norm),
        _ => return None,
    })
}

fn layout(part: Part, kind: &str, config: &CausalConfig, gguf: &GgufFamily) -> Layout {
    let interleaved = |heads: usize| match gguf.rows {
        GgufRows::Same => Layout::Same,
        GgufRows::Interleaved => Layout::Interleaved { heads },
    };
    let turned = || if config.is_transposed() && kind != "bias" { Layout::Transposed } else { Layout::Same };
    match part {
        // Converters store what the weight is multiplied with.
        Part::Norm if config.family.norm == NormKind::RmsPlusOne => Layout::PlusOne,
        Part::Embedding | Part::Norm => Layout::Same,
        Part::Queries => interleaved(config.n_query_heads),
        Part::Keys => interleaved(config.n_key_value_heads),
        Part::Packed if config.family.packing == Packing::PerHead => Layout::Blocks { heads: config.n_query_heads },
        Part::Packed | Part::Linear => turned(),
    }
}
