//! LoRA adapters as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A layer with the Hugging Face name `P` has the tensors `base_model.model.P.lora_A.weight` [rank, in] and
//! `base_model.model.P.lora_B.weight` [out, rank]; its weight changes by scale B A.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use engine::lora::{LoraConfig, LoraTargets};
use engine::ops::WeightLayout;
use serde_json::{Value, json};
use tokenizers::utils::SysRegex;

use super::Extras;
use super::extras::read_object;
use super::huggingface::some;
use super::safetensors::SafetensorsFile;
use super::save::write_safetensors;
use super::staging::Staging;
use crate::PolicyError;
use crate::causal::{Architecture, CausalConfig};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// A LoRA adapter as read from disk.
#[derive(Clone, Debug)]
pub struct PeftAdapter {
    /// What the adapter was trained on, as its configuration says.
    pub base: Option<String>,
    /// The change to each weight, by the layer's Hugging Face name without `.weight`.
    pub layers: BTreeMap<String, LoraLayer>,
    /// Tensors that take the place of the base's (PEFT's `modules_to_save` and trained biases).
    pub replaced: BTreeMap<String, Tensor>,
}

/// The two factors of a change, and its scale.
#[derive(Clone, Debug)]
pub struct LoraLayer {
    /// A, [rank, in].
    pub a: Tensor,
    /// B, [out, rank].
    pub b: Tensor,
    /// What their product is multiplied by.
    pub scale: f64,
    /// Whether the layer is the embedding, whose weight is `[in, out]`.
    pub embedding: bool,
}

/// Loads an adapter for a model of this configuration.
///
/// # Errors
/// An adapter of another kind than LoRA, DoRA and other variants included; damaged files; tensors without their partner,
/// or of another rank than the configuration's.
pub fn load_peft(folder: &Path, config: &CausalConfig, device: &Device) -> Result<PeftAdapter, PolicyError> {
    let path = folder.join(CONFIG);
    let settings = Settings::read(&path)?;
    let weights = folder.join(WEIGHTS);
    if !weights.is_file() && folder.join("adapter_model.bin").is_file() {
        let reason = "only adapter_model.bin, a Python pickle, which is not read; save the adapter again with \
                      peft's save_pretrained(.., safe_serialization=True)";
        return Err(PolicyError::format(folder, reason));
    }
    let mut file = SafetensorsFile::open(&weights)?;
    let names: Vec<String> = file.entries().keys().cloned().collect();
    let mut adapter = PeftAdapter { base: settings.base.clone(), layers: BTreeMap::new(), replaced: BTreeMap::new() };
    let mut halves: BTreeMap<String, Halves> = BTreeMap::new();
    for name in &names {
        let tensor = file.read(name, device)?;
        let key = Key::parse(name, config).map_err(|reason| PolicyError::tensor(&weights, name, reason))?;
        match key {
            Key::Replaced(name) => drop(adapter.replaced.insert(name, tensor)),
            Key::Half { layer, second, embedding } => {
                let halves = halves.entry(layer).or_default();
                halves.embedding = embedding;
                *(if second { &mut halves.b } else { &mut halves.a }) = Some(tensor);
            }
        }
    }
    for (layer, halves) in halves {
        let built = settings.layer(&layer, halves).map_err(|reason| PolicyError::tensor(&weights, &layer, reason))?;
        adapter.layers.insert(layer, built);
    }
    if adapter.layers.is_empty() {
        return Err(PolicyError::format(&weights, "no LoRA tensors"));
    }
    Ok(adapter)
}

/// Adds an adapter to a model's weights.
///
/// # Errors
/// A layer the model doesn't have, or one of another shape.
pub fn merge_peft(
    adapter: &PeftAdapter,
    config: &CausalConfig,
    tensors: &mut BTreeMap<String, Tensor>,
) -> Result<(), PolicyError> {
    let misfit = |name: &str, reason: String| PolicyError::Argument {
        what: format!("adapter for `{name}`"),
        expected: "a layer of the base model".to_owned(),
        got: reason,
    };
    for (layer, lora) in &adapter.layers {
        let name = format!("{layer}.weight");
        let Some(weight) = tensors.get_mut(&name) else {
            return Err(misfit(layer, "a layer it doesn't have".to_owned()));
        };
        let delta = (lora.b.matmul(&lora.a)? * lora.scale)?;
        let turned = lora.embedding || layout(config) == WeightLayout::InOut;
        let delta = if turned { delta.t()?.contiguous()? } else { delta };
        if delta.dims() != weight.dims() {
            return Err(misfit(layer, format!("a change of shape {:?} to {:?}", delta.dims(), weight.dims())));
        }
        *weight = (&*weight + delta.to_dtype(weight.dtype())?)?;
    }
    for (name, tensor) in &adapter.replaced {
        match tensors.get_mut(name) {
            Some(old) if old.dims() == tensor.dims() => *old = tensor.clone(),
            Some(old) => return Err(misfit(name, format!("shape {:?} in place of {:?}", tensor.dims(), old.dims()))),
            None => return Err(misfit(name, "a tensor it doesn't have".to_owned())),
        }
    }
    Ok(())
}

/// Writes a PEFT folder, whole or not at all.
///
/// `tensors` are the adapters under the names `P.lora_A.weight` and `P.lora_B.weight`, with `P` a layer's Hugging Face
/// name; `base` is what they were trained on and is written as it is.
///
/// # Errors
/// No adapters, a name of another form, or the system refuses to write.
pub fn save_peft(
    folder: &Path,
    config: &CausalConfig,
    base: &str,
    lora: &LoraConfig,
    tensors: &BTreeMap<String, Tensor>,
    extras: &Extras,
) -> Result<(), PolicyError> {
    let layer = |name: &str| {
        name.strip_suffix(".lora_A.weight").or_else(|| name.strip_suffix(".lora_B.weight")).map(str::to_owned)
    };
    let mut layers = BTreeSet::new();
    for name in tensors.keys() {
        let reason = "not an adapter's tensor; its name must end in .lora_A.weight or .lora_B.weight";
        layers.insert(layer(name).ok_or_else(|| PolicyError::tensor(folder, name, reason))?);
    }
    if layers.is_empty() {
        return Err(PolicyError::format(folder, "no adapters to write"));
    }
    let targets: BTreeSet<&str> = match &lora.targets {
        LoraTargets::Named(names) => names.iter().map(String::as_str).collect(),
        // PEFT, too, writes the names that stand for "all-linear".
        LoraTargets::AllLinear => layers.iter().filter_map(|layer| layer.rsplit('.').next()).collect(),
    };
    let settings = json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": layout(config) == WeightLayout::InOut,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": lora.rslora,
    });
    let staging = Staging::new(folder)?;
    staging.write(CONFIG, format!("{settings:#}\n").as_bytes())?;
    let named: Vec<(String, &Tensor)> = tensors.iter().map(|(name, t)| (format!("{PREFIX}{name}"), t)).collect();
    let named: Vec<(&str, &Tensor)> = named.iter().map(|(name, t)| (name.as_str(), *t)).collect();
    write_safetensors(&staging.path(WEIGHTS), &named, DType::F32)?;
    for (name, bytes) in extras.iter().filter(|(name, _)| *name != "generation_config.json") {
        staging.write(name, bytes)?;
    }
    staging.publish()
}

fn layout(config: &CausalConfig) -> WeightLayout {
    if config.architecture == Architecture::Gpt2 { WeightLayout::InOut } else { WeightLayout::OutIn }
}

/// What `base_model_name_or_path` of an adapter folder says.
pub(super) fn base_of(folder: &Path) -> Result<Option<String>, PolicyError> {
    Ok(read_object(&folder.join(CONFIG))?["base_model_name_or_path"].as_str().map(str::to_owned))
}

/// Whether a folder is an adapter's.
pub(super) fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// A layer's factors while they are collected.
#[derive(Debug, Default)]
struct Halves {
    a: Option<Tensor>,
    b: Option<Tensor>,
    embedding: bool,
}

/// What a tensor of the file is.
enum Key {
    Half { layer: String, second: bool, embedding: bool },
    Replaced(String),
}

impl Key {
    fn parse(name: &str, config: &CausalConfig) -> Result<Self, String> {
        let path = name.strip_prefix(PREFIX).unwrap_or(name);
        if path.contains("lora_magnitude_vector") {
            return Err("DoRA is not supported".to_owned());
        }
        let canonical = |module: &str| {
            let whole = config.canonical_name(&format!("{module}.weight"));
            let layer = whole.and_then(|n| n.strip_suffix(".weight").map(str::to_owned));
            layer.ok_or_else(|| format!("`{module}` has no weight of its own in this model (tied to the embedding?)"))
        };
        let kinds = [
            (".lora_A", false, false),
            (".lora_B", true, false),
            (".lora_embedding_A", false, true),
            (".lora_embedding_B", true, true),
        ];
        for (mark, second, embedding) in kinds {
            // After the mark: nothing, `.weight`, or an adapter's name that older versions left there.
            let Some((module, rest)) = path.split_once(mark) else { continue };
            match rest {
                "" | ".weight" | ".default" | ".default.weight" => {
                    return Ok(Self::Half { layer: canonical(module)?, second, embedding });
                }
                ".bias" | ".default.bias" => return Err("a bias of its own in LoRA is not supported".to_owned()),
                _ => {}
            }
        }
        let plain = path.replace(".modules_to_save.default", "").replace(".base_layer", "");
        config.canonical_name(&plain).map(Self::Replaced).ok_or_else(|| "not a tensor of this model".to_owned())
    }
}

/// The parts of `adapter_config.json` that matter.
#[derive(Debug)]
struct Settings {
    base: Option<String>,
    rank: usize,
    alpha: f64,
    rslora: bool,
    ranks: Vec<(Pattern, f64)>,
    alphas: Vec<(Pattern, f64)>,
}

#[derive(Debug)]
struct Pattern(SysRegex);

impl Settings {
    fn read(path: &Path) -> Result<Self, PolicyError> {
        let value = read_object(path)?;
        let wrong = |reason: String| PolicyError::format(path, reason);
        match value["peft_type"].as_str() {
            Some("LORA") => {}
            Some(other) => return Err(wrong(format!("adapters of type {other} are not supported; supported: LORA"))),
            None => return Err(wrong("`peft_type` is missing; it must be LORA".to_owned())),
        }
        refuse_variants(&value).map_err(wrong)?;
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

    fn layer(&self, name: &str, halves: Halves) -> Result<LoraLayer, String> {
        let Halves { a: Some(a), b: Some(b), embedding } = halves else {
            return Err("one of lora_A and lora_B is missing".to_owned());
        };
        let rank = find(&self.ranks, name).map_or(self.rank, |r| r as usize);
        match (a.dims(), b.dims()) {
            ([r, _], [_, s]) if *r == rank && *s == rank => {}
            (a, b) => {
                return Err(format!("its factors are {a:?} and {b:?}, and adapter_config.json gives it rank {rank}"));
            }
        }
        let alpha = find(&self.alphas, name).unwrap_or(self.alpha);
        let scale = alpha / if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(LoraLayer { a, b, scale, embedding })
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

/// Compares an adapter with the model it is to be added to, so that a misfit names the adapter's file.
pub(super) fn check_fits(
    folder: &Path,
    adapter: &PeftAdapter,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<(), PolicyError> {
    let layers = adapter.layers.keys().map(|layer| format!("{layer}.weight"));
    let unknown: Vec<String> =
        layers.chain(adapter.replaced.keys().cloned()).filter(|name| !tensors.contains_key(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
    let reason = format!("not an adapter of this base, which has no {}", some(&names));
    Err(PolicyError::format(folder.join(WEIGHTS), reason))
}
