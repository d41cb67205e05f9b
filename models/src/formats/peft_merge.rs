//! Merges PEFT adapters into their base's weights.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use engine::lora::{merged_bias, merged_weight};
use engine::ops::WeightLayout;

use super::ModelFiles;
use super::lora_settings::LoraLayer;
use super::peft::{PeftAdapter, WEIGHTS};
use crate::ModelError;
use crate::causal::CausalConfig;
use crate::tensors::some;

impl PeftAdapter {
    /// The first layer that has a bias in the adapter and none in the base.
    pub(super) fn layer_without_bias(&self, tensors: &BTreeMap<String, Tensor>) -> Option<&str> {
        let biased = self.layers.iter().filter(|(_, lora)| lora.bias.is_some()).map(|(layer, _)| layer.as_str());
        biased.into_iter().find(|layer| !tensors.contains_key(&format!("{layer}.bias")))
    }

    /// Whether it unties the embedding and output matrix of a tied model.
    ///
    /// PEFT changes only the target module and not its tied twin, so the two become different.
    pub(super) fn parts_the_tie(&self, config: &CausalConfig) -> bool {
        self.changes_an_end(config, self.layers.keys())
    }

    /// Whether the embedding or output matrix of a tied model is replaced or has factors.
    pub(super) fn changes_an_end<'a>(
        &self,
        config: &CausalConfig,
        mut layers: impl Iterator<Item = &'a String>,
    ) -> bool {
        let ends = [config.embedding_name(), config.head_name().to_owned()];
        let is_end = |layer: &String| ends.iter().any(|end| end.strip_suffix(".weight") == Some(layer));
        config.tied && (ends.iter().any(|end| self.replaced.contains_key(end)) || layers.any(is_end))
    }
}

/// Merges an adapter into a model's weights, like PEFT's `merge_and_unload`. If it changes one of two tied matrices,
/// they are untied, in `config` too.
///
/// # Errors
/// A layer that the model does not have, or of another shape.
pub fn merge_peft(
    adapter: &PeftAdapter,
    config: &mut CausalConfig,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<(), ModelError> {
    let (embedding, head) = (config.embedding_name(), config.head_name());
    // The base's own weights come first, in PEFT's order: the embedding, then the output matrix that may be tied to it.
    let is_head = |name: &str| name == head;
    let (last, first): (Vec<_>, Vec<_>) = adapter.base_weights.iter().partition(|(name, _)| is_head(name));
    for (name, tensor) in first.into_iter().chain(last) {
        let name = if config.tied && is_head(name) { &embedding } else { name };
        replace(tensors, name, tensor)?;
    }
    if adapter.parts_the_tie(config) {
        if let Some(shared) = tensors.get(&embedding).cloned() {
            tensors.insert(head.to_owned(), shared);
        }
        config.untie();
    }
    for (name, tensor) in &adapter.replaced {
        replace(tensors, name, tensor)?;
    }
    for (layer, lora) in &adapter.layers {
        // GPT-2's linear layers are transposed, except its output matrix.
        let is_turned = lora.embedding || (config.is_transposed() && !is_head(&format!("{layer}.weight")));
        change(tensors, layer, lora, is_turned)?;
    }
    Ok(())
}

fn misfit(name: &str, reason: String) -> ModelError {
    ModelError::Argument {
        what: format!("adapter for `{name}`"),
        expected: "a layer of the base model".to_owned(),
        got: reason,
    }
}

fn replace(tensors: &mut BTreeMap<String, Tensor>, name: &str, tensor: &Tensor) -> Result<(), ModelError> {
    match tensors.get_mut(name) {
        Some(old) if old.dims() == tensor.dims() => *old = tensor.clone(),
        Some(old) => return Err(misfit(name, format!("shape {:?} in place of {:?}", tensor.dims(), old.dims()))),
        None => return Err(misfit(name, "a tensor it doesn't have".to_owned())),
    }
    Ok(())
}

fn change(
    tensors: &mut BTreeMap<String, Tensor>,
    layer: &str,
    lora: &LoraLayer,
    is_turned: bool,
) -> Result<(), ModelError> {
    let Some(weight) = tensors.get_mut(&format!("{layer}.weight")) else {
        return Err(misfit(layer, "a layer it doesn't have".to_owned()));
    };
    let (mut change, layout) = ([lora.b.dims()[0], lora.a.dims()[1]], turned_layout(is_turned));
    if is_turned {
        change.reverse();
    }
    if weight.dims() != change {
        return Err(misfit(layer, format!("a change of shape {change:?} to {:?}", weight.dims())));
    }
    *weight = merged_weight(weight, layout, lora.adapter())?;
    if lora.bias.is_none() {
        return Ok(());
    }
    let Some(bias) = tensors.get_mut(&format!("{layer}.bias")) else {
        let reason = "no bias, to which that of the adapter (`lora_bias`) could be added".to_owned();
        return Err(misfit(layer, reason));
    };
    *bias = merged_bias(bias, lora.adapter())?;
    Ok(())
}

fn turned_layout(is_turned: bool) -> WeightLayout {
    if is_turned { WeightLayout::InOut } else { WeightLayout::OutIn }
}

/// Resizes a base to the vocabulary of an adapter with new tokens, as peft does when it loads the base itself. All rows
/// come from the adapter.
///
/// # Errors
/// The adapter has rows for new tokens in only one of the two matrices.
pub(super) fn grow(
    folder: &Path,
    adapter: &PeftAdapter,
    config: &mut CausalConfig,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<(), ModelError> {
    let (embedding, head) = (config.embedding_name(), config.head_name().to_owned());
    let rows = |name: &String| {
        let stored = [adapter.base_weights.get(name), adapter.replaced.get(name)].into_iter().flatten();
        stored.filter_map(|tensor| tensor.dims().first().copied()).max()
    };
    let found = [rows(&embedding), rows(&head)];
    let Some(most) = found.into_iter().flatten().max().filter(|most| *most > config.vocabulary) else { return Ok(()) };
    // Either tensor of a tied base stands for both.
    let is_whole = |name: &String| adapter.base_weights.get(name).is_some_and(|tensor| tensor.dims()[0] == most);
    let is_told = if config.tied { is_whole(&embedding) || is_whole(&head) } else { found == [Some(most); 2] };
    if !is_told {
        let reason = format!(
            "it has rows for new tokens ({most} where its base has {}), and not all of the embedding and the output matrix; \
             save it again with peft's save_pretrained(.., save_embedding_layers=True)",
            config.vocabulary
        );
        return Err(ModelError::format(folder.join(WEIGHTS), reason));
    }
    for name in [embedding, head] {
        if let Some(tensor) = tensors.get_mut(&name) {
            *tensor = tensor.pad_with_zeros(0, 0, most - config.vocabulary)?;
        }
    }
    config.widen(most);
    Ok(())
}

/// Compares an adapter with its model, so that errors name the adapter's file.
///
/// # Errors
/// Tensors that the model does not have.
pub(super) fn check_fits(
    folder: &Path,
    adapter: &PeftAdapter,
    ModelFiles { config, tensors, quantised, .. }: &ModelFiles,
) -> Result<(), ModelError> {
    let layers = adapter.layers.keys().map(|layer| format!("{layer}.weight"));
    let names = layers.chain(adapter.replaced.keys().cloned()).chain(adapter.base_weights.keys().cloned());
    let is_there = |name: &String| {
        tensors.contains_key(name) || quantised.contains_key(name) || (config.tied && name == config.head_name())
    };
    let unknown: Vec<String> = names.filter(|name| !is_there(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
    let reason = format!("not an adapter of this base, which has no {}", some(&names));
    Err(ModelError::format(folder.join(WEIGHTS), reason))
}
