//! The settings of LoRA adapters as PEFT writes them: `adapter_config.json`, or an entry in a diffusers file's header.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use engine::lora::{AdaptableLayer, LoraConfig, LoraTargets, parameter_names};
use serde_json::Value;
use tokenizers::utils::SysRegex;

use super::LoraLayer;
use crate::PolicyError;

/// A layer's factors while they are collected.
#[derive(Debug, Default)]
pub(super) struct Halves {
    pub(super) a: Option<Tensor>,
    pub(super) b: Option<Tensor>,
    pub(super) embedding: bool,
}

/// Adapters of a file as what a model learns: their settings, and the parameters as they stand.
#[derive(Clone, Debug)]
pub struct TrainedLora {
    /// What they were made with.
    pub config: LoraConfig,
    /// Both halves of each, `P.lora_A.weight` and `P.lora_B.weight` for a layer `P`.
    pub tensors: BTreeMap<String, Tensor>,
}

impl TrainedLora {
    /// # Errors
    /// Adapters that one rank and one scale do not describe; the reason.
    pub(super) fn new(layers: &BTreeMap<String, LoraLayer>, all: &[AdaptableLayer]) -> Result<Self, String> {
        let Some(first) = layers.values().next() else { return Err("it has no adapters".to_owned()) };
        let rank = first.a.dim(0).unwrap_or(0);
        let mut tensors = BTreeMap::new();
        for (name, layer) in layers {
            if layer.embedding {
                return Err(format!("`{name}` is the embedding's"));
            }
            if layer.a.dim(0).ok() != Some(rank) || (layer.scale - first.scale).abs() > 1e-9 * first.scale.abs() {
                return Err(format!("`{name}` has another rank or strength than the layers before it"));
            }
            let (a, b) = parameter_names(name);
            tensors.extend([(a, layer.a.clone()), (b, layer.b.clone())]);
        }
        // What was divided is multiplied again: rounding must not make 15.999999999999998 of 16.
        let width = if first.rslora { (rank as f64).sqrt() } else { rank as f64 };
        let alpha = (first.scale * width * 1e9).round() / 1e9;
        let targets = LoraTargets::exactly(&layers.keys().map(String::as_str).collect(), all);
        Ok(Self { config: LoraConfig { rank, alpha, rslora: first.rslora, targets }, tensors })
    }
}

/// The parts of `adapter_config.json` that matter.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) base: Option<String>,
    rank: usize,
    alpha: f64,
    rslora: bool,
    ranks: Vec<(Pattern, f64)>,
    alphas: Vec<(Pattern, f64)>,
}

#[derive(Debug)]
struct Pattern(SysRegex);

impl Settings {
    /// Reads and checks the settings, which are in the file at `path`.
    ///
    /// # Errors
    /// Adapters of another kind, and numbers that are none.
    pub(super) fn of(path: &Path, value: &Value) -> Result<Self, PolicyError> {
        let wrong = |reason: String| PolicyError::format(path, reason);
        match value["peft_type"].as_str() {
            Some("LORA") => {}
            Some(other) => return Err(wrong(format!("adapters of type {other} are not supported; supported: LORA"))),
            None => return Err(wrong("`peft_type` is missing; it must be LORA".to_owned())),
        }
        refuse_variants(value).map_err(wrong)?;
        check_targets(&value["target_modules"]).map_err(wrong)?;
        let number = |key: &str, default: f64| match &value[key] {
            Value::Null => Ok(default),
            v => v
                .as_f64()
                .filter(|n| n.is_finite() && *n > 0.0)
                .ok_or_else(|| wrong(format!("`{key}` is {v}, not a positive number"))),
        };
        Ok(Self {
            base: value["base_model_name_or_path"].as_str().map(str::to_owned),
            rank: number("r", 8.0)? as usize,
            alpha: number("lora_alpha", 8.0)?,
            rslora: value["use_rslora"].as_bool().unwrap_or(false),
            ranks: patterns(&value["rank_pattern"]).map_err(wrong)?,
            alphas: patterns(&value["alpha_pattern"]).map_err(wrong)?,
        })
    }

    /// The adapter of one layer.
    ///
    /// # Errors
    /// Half an adapter, or one of another rank than the settings give it; the reason.
    pub(super) fn layer(&self, name: &str, halves: Halves) -> Result<LoraLayer, String> {
        let Halves { a: Some(a), b: Some(b), embedding } = halves else {
            return Err("one of lora_A and lora_B is missing".to_owned());
        };
        let rank = find(&self.ranks, name).map_or(self.rank, |r| r as usize);
        if a.dims().first() != Some(&rank) || b.dims().last() != Some(&rank) || a.rank() != b.rank() {
            let (a, b) = (a.dims(), b.dims());
            return Err(format!("its factors are {a:?} and {b:?}, and its settings give it rank {rank}"));
        }
        let alpha = find(&self.alphas, name).unwrap_or(self.alpha);
        let scale = alpha / if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(LoraLayer { a, b, scale, rslora: self.rslora, embedding })
    }
}

/// Refuses settings under which the two factors are not the whole story.
fn refuse_variants(value: &Value) -> Result<(), String> {
    if value["use_dora"] == true {
        return Err("DoRA (use_dora) is not supported; only plain LoRA is".to_owned());
    }
    let unsupported = [
        "alora_invocation_tokens",
        "arrow_config",
        "layer_replication",
        "target_parameters",
        "trainable_token_indices",
        "use_bdlora",
        "use_qalora",
    ];
    for key in unsupported {
        let given = match &value[key] {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        if given {
            return Err(format!("`{key}` is not supported; only plain LoRA is"));
        }
    }
    let init = value["init_lora_weights"].as_str().unwrap_or_default();
    if ["pissa", "olora", "corda"].iter().any(|name| init.starts_with(name)) {
        return Err(format!("`init_lora_weights` {init} changes the base's weights and is not supported"));
    }
    Ok(())
}

/// Checks that the targets are a list or a pattern; which layers they are is told by the tensors.
fn check_targets(targets: &Value) -> Result<(), String> {
    match targets {
        Value::Null => Ok(()),
        Value::String(text) if text == "all-linear" => Ok(()),
        Value::String(pattern) => {
            SysRegex::new(pattern).map(drop).map_err(|e| format!("`target_modules` is not a pattern: {e}"))
        }
        Value::Array(names) if names.iter().all(Value::is_string) => Ok(()),
        other => Err(format!("`target_modules` must be a list of names, a pattern or all-linear, not {other}")),
    }
}

/// Reads a `rank_pattern` or `alpha_pattern`: patterns of the ends of layers' names, and numbers.
fn patterns(value: &Value) -> Result<Vec<(Pattern, f64)>, String> {
    let Some(map) = value.as_object() else { return Ok(Vec::new()) };
    let one = |(key, number): (&String, &Value)| {
        let anchored = format!("^(?:.*\\.)?(?:{key})$", key = key.strip_prefix('^').unwrap_or(key));
        let pattern = SysRegex::new(&anchored).map_err(|e| format!("`{key}` is not a pattern of layers: {e}"))?;
        let number = number.as_f64().filter(|n| n.is_finite() && *n > 0.0);
        Ok((Pattern(pattern), number.ok_or_else(|| format!("the number for `{key}` is not positive"))?))
    };
    map.iter().map(one).collect()
}

fn find(patterns: &[(Pattern, f64)], layer: &str) -> Option<f64> {
    patterns.iter().find(|(pattern, _)| pattern.0.find_iter(layer).next().is_some()).map(|(_, number)| *number)
}
