//! The layers of Z-Image's original checkpoints, most of which have diffusers' names.

use super::{Named, Order};
use crate::zimage::ZImageConfig;

/// The layers of a block by those of diffusers; of the fused one there are several.
const BLOCK: [(&str, &[&str]); 2] = [
    ("attention.qkv", &["attention.to_q", "attention.to_k", "attention.to_v"]),
    ("attention.out", &["attention.to_out.0"]),
];

/// The layers outside of the blocks.
const OTHERS: [(&str, &str); 3] = [
    ("x_embedder", "all_x_embedder.2-1"),
    ("final_layer.linear", "all_final_layer.2-1.linear"),
    ("final_layer.adaLN_modulation.1", "all_final_layer.2-1.adaLN_modulation.1"),
];

/// All layers.
pub(super) fn names(config: &ZImageConfig) -> Vec<Named> {
    let others = OTHERS.iter().map(|(path, layer)| ((*path).to_owned(), vec![(*layer).to_owned()], Order::Same));
    let mut all: Vec<Named> = others.collect();
    let stacks =
        [("noise_refiner", config.n_refiners), ("context_refiner", config.n_refiners), ("layers", config.n_layers)];
    for (stack, n_layers) in stacks {
        for i in 0..n_layers {
            let named = |(path, parts): &(&str, &[&str])| {
                let parts = parts.iter().map(|part| format!("{stack}.{i}.{part}")).collect();
                (format!("{stack}.{i}.{path}"), parts, Order::Same)
            };
            all.extend(BLOCK.iter().map(named));
        }
    }
    all
}
