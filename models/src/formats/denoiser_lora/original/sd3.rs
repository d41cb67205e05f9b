//! The layers of Stable Diffusion 3's original checkpoints.

use super::{Named, Order};
use crate::sd3::Sd3Config;

/// The layers of a block by those of diffusers; of fused ones there are several.
const BLOCK: [(&str, &[&str]); 11] = [
    ("x_block.attn.qkv", &["attn.to_q", "attn.to_k", "attn.to_v"]),
    ("x_block.attn.proj", &["attn.to_out.0"]),
    ("x_block.attn2.qkv", &["attn2.to_q", "attn2.to_k", "attn2.to_v"]),
    ("x_block.attn2.proj", &["attn2.to_out.0"]),
    ("x_block.mlp.fc1", &["ff.net.0.proj"]),
    ("x_block.mlp.fc2", &["ff.net.2"]),
    ("x_block.adaLN_modulation.1", &["norm1.linear"]),
    ("context_block.attn.qkv", &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]),
    ("context_block.attn.proj", &["attn.to_add_out"]),
    ("context_block.mlp.fc1", &["ff_context.net.0.proj"]),
    ("context_block.mlp.fc2", &["ff_context.net.2"]),
];

/// The layers outside of the blocks.
const OTHERS: [(&str, &str, Order); 8] = [
    ("x_embedder.proj", "pos_embed.proj", Order::Same),
    ("context_embedder", "context_embedder", Order::Same),
    ("t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_1", Order::Same),
    ("t_embedder.mlp.2", "time_text_embed.timestep_embedder.linear_2", Order::Same),
    ("y_embedder.mlp.0", "time_text_embed.text_embedder.linear_1", Order::Same),
    ("y_embedder.mlp.2", "time_text_embed.text_embedder.linear_2", Order::Same),
    ("final_layer.linear", "proj_out", Order::Same),
    ("final_layer.adaLN_modulation.1", "norm_out.linear", Order::ShiftFirst),
];

/// All layers.
pub(super) fn names(config: &Sd3Config) -> Vec<Named> {
    let others = OTHERS.iter().map(|(path, layer, order)| ((*path).to_owned(), vec![(*layer).to_owned()], *order));
    let mut all: Vec<Named> = others.collect();
    for i in 0..config.n_layers {
        let (old, new) = (format!("joint_blocks.{i}"), format!("transformer_blocks.{i}"));
        for (path, parts) in BLOCK {
            let parts = parts.iter().map(|part| format!("{new}.{part}")).collect();
            all.push((format!("{old}.{path}"), parts, Order::Same));
        }
        // The last block's caption is only normalised, by a norm that has its scale first in diffusers.
        let order = if i + 1 == config.n_layers { Order::ShiftFirst } else { Order::Same };
        all.push((
            format!("{old}.context_block.adaLN_modulation.1"),
            vec![format!("{new}.norm1_context.linear")],
            order,
        ));
    }
    all
}
