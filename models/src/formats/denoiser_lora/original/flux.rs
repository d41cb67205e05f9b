//! The layers of FLUX.1's original checkpoints.

use super::{Named, Order};
use crate::flux::FluxConfig;

/// The layers of a block of two streams by those of diffusers; of fused ones there are several.
const DOUBLE: [(&str, &[&str]); 10] = [
    ("img_attn.qkv", &["attn.to_q", "attn.to_k", "attn.to_v"]),
    ("img_attn.proj", &["attn.to_out.0"]),
    ("img_mlp.0", &["ff.net.0.proj"]),
    ("img_mlp.2", &["ff.net.2"]),
    ("img_mod.lin", &["norm1.linear"]),
    ("txt_attn.qkv", &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]),
    ("txt_attn.proj", &["attn.to_add_out"]),
    ("txt_mlp.0", &["ff_context.net.0.proj"]),
    ("txt_mlp.2", &["ff_context.net.2"]),
    ("txt_mod.lin", &["norm1_context.linear"]),
];

/// The layers of a block of one stream.
const SINGLE: [(&str, &[&str]); 3] = [
    ("linear1", &["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]),
    ("linear2", &["proj_out"]),
    ("modulation.lin", &["norm.linear"]),
];

/// The layers outside of the blocks.
const OTHERS: [(&str, &str, Order); 10] = [
    ("img_in", "x_embedder", Order::Same),
    ("txt_in", "context_embedder", Order::Same),
    ("time_in.in_layer", "time_text_embed.timestep_embedder.linear_1", Order::Same),
    ("time_in.out_layer", "time_text_embed.timestep_embedder.linear_2", Order::Same),
    ("guidance_in.in_layer", "time_text_embed.guidance_embedder.linear_1", Order::Same),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder.linear_2", Order::Same),
    ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1", Order::Same),
    ("vector_in.out_layer", "time_text_embed.text_embedder.linear_2", Order::Same),
    ("final_layer.linear", "proj_out", Order::Same),
    ("final_layer.adaLN_modulation.1", "norm_out.linear", Order::ShiftFirst),
];

/// All layers.
pub(super) fn names(config: &FluxConfig) -> Vec<Named> {
    let block = |old: String, new: String, layers: &[(&str, &[&str])]| -> Vec<Named> {
        let named = |(path, parts): &(&str, &[&str])| {
            let parts = parts.iter().map(|part| format!("{new}.{part}")).collect();
            (format!("{old}.{path}"), parts, Order::Same)
        };
        layers.iter().map(named).collect()
    };
    let double = |i: usize| block(format!("double_blocks.{i}"), format!("transformer_blocks.{i}"), &DOUBLE);
    let single = |i: usize| block(format!("single_blocks.{i}"), format!("single_transformer_blocks.{i}"), &SINGLE);
    let others = OTHERS.iter().map(|(path, layer, order)| ((*path).to_owned(), vec![(*layer).to_owned()], *order));
    let blocks = (0..config.n_layers).flat_map(double).chain((0..config.n_single_layers).flat_map(single));
    blocks.chain(others).collect()
}
