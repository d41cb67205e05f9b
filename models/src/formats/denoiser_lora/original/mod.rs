//! Names of layers in the files of other trainers: kohya's scripts, and those that train the networks of original
//! checkpoints.
//!
//! A file of kohya's names a layer by its path with underscores, `lora_unet_` before it; others write the path itself after
//! `diffusion_model.` or `base_model.model.`. The path is that of diffusers, or that of the original checkpoint, whose layers
//! may hold several of diffusers' (queries, keys and values). So all names of a network are listed, and a name that is
//! not among them is refused.

mod flux;
mod sd3;
mod unet;
mod zimage;

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::names::TensorRole;
use crate::ModelError;
use crate::denoiser::DenoiserConfig;

/// What stands before the path of a layer.
const PREFIXES: [&str; 4] = ["lora_unet_", "lora_transformer_", "diffusion_model.", "base_model.model."];
/// What stands behind it.
const ENDS: [(&str, TensorRole); 7] = [
    (".lora_down.weight", TensorRole::A),
    (".lora_up.weight", TensorRole::B),
    (".lora_A.weight", TensorRole::A),
    (".lora_B.weight", TensorRole::B),
    (".lora_B.bias", TensorRole::Bias),
    (".lora_magnitude_vector", TensorRole::Magnitude),
    (".alpha", TensorRole::Alpha),
];

/// A layer of an original checkpoint: its path, the layers of diffusers that it holds, in the order of its output rows.
type Named = (String, Vec<String>, Order);

/// A tensor of a layer of diffusers.
type LayerPart = (String, TensorRole, Tensor);

/// The order of the two halves of a modulation's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As in diffusers.
    Same,
    /// Shift before scale, where diffusers has the scale first.
    ShiftFirst,
}

/// A layer that a file names.
#[derive(Debug)]
struct Original {
    /// The layers of diffusers, each with the rows of its output.
    layers: Vec<(String, usize)>,
    order: Order,
}

/// All layers of a network by the names of other trainers.
#[derive(Debug)]
pub(super) struct Originals {
    class: &'static str,
    names: BTreeMap<String, Original>,
    /// The rows of the output of each layer of diffusers.
    own: BTreeMap<String, usize>,
}

impl Originals {
    /// Lists the names of a network's layers.
    pub(super) fn of(config: &DenoiserConfig) -> Self {
        let own: BTreeMap<String, usize> =
            config.adaptable_layers().into_iter().map(|layer| (layer.name, layer.n_out)).collect();
        let others = match config {
            DenoiserConfig::UNet(config) => unet::names(config, own.keys()),
            DenoiserConfig::Sd3(config) => sd3::names(config),
            DenoiserConfig::Flux(config) => flux::names(config),
            DenoiserConfig::ZImage(config) => zimage::names(config),
            // By the paths of diffusers alone.
            DenoiserConfig::Dit(_) | DenoiserConfig::External(_) => Vec::new(),
        };
        let plain = own.keys().map(|layer| (layer.clone(), vec![layer.clone()], Order::Same));
        let mut names = BTreeMap::new();
        for (path, layers, order) in plain.chain(others) {
            let sized = |layer: String| own.get(&layer).map(|rows| (layer.clone(), *rows));
            // A path may name layers that this network lacks: the last block has fewer.
            if let Some(layers) = layers.into_iter().map(sized).collect::<Option<Vec<_>>>() {
                names.entry(underscored(&path)).or_insert(Original { layers, order });
            }
        }
        Self { class: config.class(), names, own }
    }

    /// The tensors of diffusers' layers that a tensor of a file makes; `None` if its name is not that of another trainer.
    ///
    /// # Errors
    /// A layer that the network does not have, a tensor that is no factor, rows that do not fit; the reason.
    pub(super) fn convert(
        &self,
        name: &str,
        tensor: impl FnOnce() -> Result<Tensor, ModelError>,
    ) -> Result<Option<Vec<LayerPart>>, String> {
        let Some((prefix, path)) = PREFIXES.iter().find_map(|prefix| Some((*prefix, name.strip_prefix(prefix)?)))
        else {
            return Ok(None);
        };
        let Some((layer, role)) = ENDS.iter().find_map(|(end, role)| Some((path.strip_suffix(end)?, *role))) else {
            return if prefix == "base_model.model." { Ok(None) } else { Err(not_a_factor(path)) };
        };
        if prefix == "base_model.model." && self.own.contains_key(layer) {
            return Ok(None);
        }
        let Some(original) = self.names.get(&underscored(layer)) else {
            return Err(format!("`{layer}` is no layer of a {}, by its name in diffusers or elsewhere", self.class));
        };
        let tensor = tensor().map_err(|error| error.to_string())?;
        let parts = match role {
            // One row or number of each output.
            TensorRole::B | TensorRole::Bias | TensorRole::Magnitude => original.split(&tensor)?,
            TensorRole::A | TensorRole::Alpha | TensorRole::Replaced => vec![tensor; original.layers.len()],
        };
        let layers = original.layers.iter().map(|(layer, _)| layer.clone());
        Ok(Some(layers.zip(parts).map(|(layer, part)| (layer, role, part)).collect()))
    }
}

impl Original {
    /// The output rows of each layer, in diffusers' order.
    fn split(&self, tensor: &Tensor) -> Result<Vec<Tensor>, String> {
        let (all, found) = (self.layers.iter().map(|(_, rows)| rows).sum::<usize>(), tensor.dims().first().copied());
        if found != Some(all) {
            return Err(format!("its {:?} rows are not those of the layers that it holds, {all}", found.unwrap_or(0)));
        }
        let rows = |start: usize, n: usize| tensor.narrow(0, start, n).and_then(|part| part.contiguous());
        let mut parts = Vec::with_capacity(self.layers.len());
        let mut start = 0;
        for (_, n) in &self.layers {
            let part = match self.order {
                Order::Same => rows(start, *n),
                Order::ShiftFirst => {
                    rows(start + n / 2, n - n / 2).and_then(|scale| Tensor::cat(&[scale, rows(start, n / 2)?], 0))
                }
            };
            parts.push(part.map_err(|error| error.to_string())?);
            start += n;
        }
        Ok(parts)
    }
}

/// The message about a tensor of a layer that is none of LoRA's.
fn not_a_factor(path: &str) -> String {
    if path.contains("lora_mid") {
        return "a factor between the two (LoCon's lora_mid) is not supported".to_owned();
    }
    if path.rsplit('.').next().is_some_and(|end| ["diff", "diff_b"].contains(&end)) {
        return "a whole difference of weights is not supported; only LoRA is".to_owned();
    }
    "not a tensor of a LoRA adapter".to_owned()
}

pub(super) fn underscored(path: &str) -> String {
    path.replace('.', "_")
}

#[cfg(test)]
mod tests;
