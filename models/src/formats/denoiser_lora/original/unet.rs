//! The layers of UNets in Stable Diffusion's original checkpoints, whose blocks are counted through.

use std::collections::BTreeSet;

use super::{Named, Order};
use crate::unet::UNetConfig;

/// Layers outside of the blocks.
const OTHERS: [(&str, &str); 6] = [
    ("input_blocks.0.0", "conv_in"),
    ("out.2", "conv_out"),
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
];

/// Layers of a residual block.
const RESNET: [(&str, &str); 4] = [
    ("in_layers.2", "conv1"),
    ("out_layers.3", "conv2"),
    ("emb_layers.1", "time_emb_proj"),
    ("skip_connection", "conv_shortcut"),
];

/// All layers; a UNet whose blocks differ in their number of layers has no original.
pub(super) fn names<'a>(config: &UNetConfig, layers: impl Iterator<Item = &'a String>) -> Vec<Named> {
    let n = config.levels.first().map_or(0, |level| level.n_layers);
    if config.levels.iter().any(|level| level.n_layers != n) {
        return Vec::new();
    }
    let layers: Vec<&String> = layers.collect();
    // In a block with attention that is the second module of each place, and what upsamples the third.
    let with_attention: BTreeSet<&str> =
        layers.iter().filter_map(|layer| layer.split_once(".attentions.").map(|(block, _)| block)).collect();
    let named = |layer: &&String| {
        let other = OTHERS.iter().find(|(_, own)| own == layer).map(|(path, _)| (*path).to_owned());
        let path = other.or_else(|| in_block(layer, n, &with_attention))?;
        Some((path, vec![(*layer).clone()], Order::Same))
    };
    layers.iter().filter_map(named).collect()
}

/// The original path of a layer in a block of `n` layers.
fn in_block(layer: &str, n: usize, with_attention: &BTreeSet<&str>) -> Option<String> {
    if let Some(rest) = layer.strip_prefix("mid_block.") {
        let (kind, rest) = rest.split_once('.')?;
        let (index, part) = rest.split_once('.')?;
        return match (kind, index) {
            ("resnets", "0") => Some(format!("middle_block.0.{}", of_resnet(part)?)),
            ("attentions", "0") => Some(format!("middle_block.1.{part}")),
            ("resnets", "1") => Some(format!("middle_block.2.{}", of_resnet(part)?)),
            _ => None,
        };
    }
    let pieces: Vec<&str> = layer.splitn(5, '.').collect();
    let [side, block, kind, index, part] = pieces[..] else { return None };
    let (number, index): (usize, usize) = (block.parse().ok()?, index.parse().ok()?);
    let has_attention = with_attention.contains(format!("{side}.{block}").as_str());
    match (side, kind) {
        ("down_blocks", "resnets") => {
            Some(format!("input_blocks.{}.0.{}", 1 + number * (n + 1) + index, of_resnet(part)?))
        }
        ("down_blocks", "attentions") => Some(format!("input_blocks.{}.1.{part}", 1 + number * (n + 1) + index)),
        ("down_blocks", "downsamplers") if part == "conv" => {
            Some(format!("input_blocks.{}.0.op", 1 + number * (n + 1) + n))
        }
        ("up_blocks", "resnets") => Some(format!("output_blocks.{}.0.{}", number * (n + 1) + index, of_resnet(part)?)),
        ("up_blocks", "attentions") => Some(format!("output_blocks.{}.1.{part}", number * (n + 1) + index)),
        ("up_blocks", "upsamplers") => {
            Some(format!("output_blocks.{}.{}.{part}", number * (n + 1) + n, if has_attention { 2 } else { 1 }))
        }
        _ => None,
    }
}

fn of_resnet(part: &str) -> Option<&'static str> {
    RESNET.iter().find(|(_, own)| *own == part).map(|(path, _)| *path)
}
