//! LoRA adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A layer with the Hugging Face name `P` has the tensors `base_model.model.P.lora_A.weight` [rank, in] and
//! `base_model.model.P.lora_B.weight` [out, rank]; its weight changes by scale B A. An embedding's are
//! `P.lora_embedding_A` [rank, tokens] and `P.lora_embedding_B` [width, rank]. A bias beside B is `P.lora_B.bias`, DoRA's
//! magnitudes are `P.lora_magnitude_vector`. Besides the factors, PEFT saves fully
//! trained modules (`modules_to_save`), biases, and the base's embedding and output matrix if one of them is adapted
//! (`P.base_layer.weight`) or both have rows for new tokens. A fully trained module may then have three tensors:
//! `P.weight`, the identical `P.modules_to_save.weight`, and `P.original_module.weight`, the base's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{Device, Tensor};
use engine::lora::{LoraConfig, LoraExtra, LoraTargets, layer_of};
use engine::ops::WeightLayout;
use engine::transfer::to_host;
use serde_json::{Value, json};

use super::Extras;
use super::extras::read_object;
use super::lora_settings::{Halves, LoraLayer, Settings, TrainedLora};
use super::save::{SaveOptions, write_safetensors};
use super::staging::Staging;
use crate::ModelError;
use crate::causal::CausalConfig;
use crate::weights_file::WeightsFile;

const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
/// PEFT's prefix of module names.
const PREFIX: &str = "base_model.model.";

/// A LoRA adapter as read from disk.
#[derive(Clone, Debug)]
pub struct PeftAdapter {
    /// The base model that its config names.
    pub base: Option<String>,
    /// The change to each weight, by the layer's Hugging Face name without `.weight`.
    pub layers: BTreeMap<String, LoraLayer>,
    /// Tensors that replace the base's in the adapted model (PEFT's `modules_to_save`).
    pub replaced: BTreeMap<String, Tensor>,
    /// The base's own tensors: weights under an adapter, and biases.
    pub base_weights: BTreeMap<String, Tensor>,
}

impl PeftAdapter {
    /// The adapters as parameters of a model of this config, for further training.
    ///
    /// # Errors
    /// Replaced tensors, adapters of the embedding, several ranks or scales.
    pub fn trained(&self, config: &CausalConfig) -> Result<TrainedLora, ModelError> {
        let trained = match self.replaced.keys().chain(self.base_weights.keys()).next() {
            Some(name) => Err(format!("it replaces `{name}` of its base")),
            None => TrainedLora::new(&self.layers, &config.adaptable_layers()),
        };
        trained.map_err(|reason| ModelError::Argument {
            what: "an adapter that goes on learning".to_owned(),
            expected: "one rank and one alpha for all its layers, and nothing but them".to_owned(),
            got: reason,
        })
    }
}

/// Loads an adapter for a model of this config.
///
/// # Errors
/// A method other than LoRA (DoRA and `lora_bias` are read), damaged files, a factor without its partner or with
/// another rank than in the config.
pub fn load_peft(folder: &Path, config: &CausalConfig, device: &Device) -> Result<PeftAdapter, ModelError> {
    let path = folder.join(CONFIG);
    let settings = Settings::of(&path, &read_object(&path)?)?;
    let weights = folder.join(WEIGHTS);
    if !weights.is_file() && folder.join("adapter_model.bin").is_file() {
        let reason = "only adapter_model.bin, a Python pickle, which is not read; save the adapter again with \
                      peft's save_pretrained(.., safe_serialization=True)";
        return Err(ModelError::format(folder, reason));
    }
    let (mut adapter, halves) = read_tensors(&weights, config, &settings, device)?;
    if settings.ensures_tying && adapter.changes_an_end(config, halves.keys()) {
        let reason = "`ensure_weight_tying` with an adapter of a tied embedding or output matrix is not supported; merge \
                      it with peft's merge_and_unload";
        return Err(ModelError::format(&path, reason));
    }
    for (layer, halves) in halves {
        let built = build(&settings, config, &layer, halves);
        let built = built.map_err(|reason| ModelError::tensor(&weights, &layer, reason))?;
        adapter.layers.insert(layer, built);
    }
    if adapter.layers.is_empty() {
        return Err(ModelError::format(&weights, "no LoRA tensors"));
    }
    Ok(adapter)
}

/// The whole tensors of an adapter by name, and the factors of its layers.
fn read_tensors(
    weights: &Path,
    config: &CausalConfig,
    settings: &Settings,
    device: &Device,
) -> Result<(PeftAdapter, BTreeMap<String, Halves>), ModelError> {
    let file = WeightsFile::open(weights)?;
    let names: Vec<String> = file.entries().keys().cloned().collect();
    let mut adapter = PeftAdapter {
        base: settings.base.clone(),
        layers: BTreeMap::new(),
        replaced: BTreeMap::new(),
        base_weights: BTreeMap::new(),
    };
    let mut halves: BTreeMap<String, Halves> = BTreeMap::new();
    for name in &names {
        let tensor = file.read(name, device)?;
        let key = Key::parse(name, config, settings).map_err(|reason| ModelError::tensor(weights, name, reason))?;
        let twin = match key {
            Key::Replaced(name) => same_or_twice(&mut adapter.replaced, name, tensor)?,
            Key::OfBase(name) => adapter.base_weights.insert(name, tensor),
            Key::Half { layer, second, embedding } => {
                let halves = halves.entry(layer).or_default();
                halves.embedding = embedding;
                (if second { &mut halves.b } else { &mut halves.a }).replace(tensor)
            }
            Key::Bias(layer) => halves.entry(layer).or_default().bias.replace(tensor),
            Key::Magnitude(layer) => halves.entry(layer).or_default().magnitude.replace(tensor),
        };
        if twin.is_some() {
            return Err(ModelError::tensor(weights, name, "is there twice, under two names"));
        }
    }
    Ok((adapter, halves))
}

/// Inserts a module's tensor; returns the previous one if it differs, since peft may write both names of one tensor.
fn same_or_twice(
    replaced: &mut BTreeMap<String, Tensor>,
    name: String,
    tensor: Tensor,
) -> Result<Option<Tensor>, ModelError> {
    let numbers = |tensor: &Tensor| to_host::<f32>(tensor);
    let is_same = match replaced.get(&name) {
        Some(before) => before.dims() == tensor.dims() && numbers(before)? == numbers(&tensor)?,
        None => false,
    };
    Ok(replaced.insert(name, tensor).filter(|_| !is_same))
}

/// The adapter of one layer, which must be a target by its name in memory.
fn build(settings: &Settings, config: &CausalConfig, layer: &str, halves: Halves) -> Result<LoraLayer, String> {
    let weight = format!("{layer}.weight");
    let name = config.name_in_memory(&weight).trim_end_matches(".weight");
    let is_output_or_embedding = halves.embedding || weight == config.head_name();
    settings.targeted_layer(name, halves, is_output_or_embedding)
}

/// Writes a PEFT folder, atomically.
///
/// `tensors` are the adapters under the names `P.lora_A.weight`, `P.lora_B.weight` and, if they have them,
/// `P.lora_B.bias` or `P.lora_magnitude_vector`, with `P` a layer's Hugging Face name; `base` is the base model's name or
/// path; one in the Hugging Face cache is written as its name and commit. All tensors go into one file of any size.
///
/// # Errors
/// No adapters, an invalid tensor name, an I/O error.
pub fn save_peft(
    folder: &Path,
    config: &CausalConfig,
    base: &str,
    lora: &LoraConfig,
    tensors: &BTreeMap<String, Tensor>,
    extras: &Extras,
    options: SaveOptions,
) -> Result<(), ModelError> {
    let mut layers = BTreeSet::new();
    for name in tensors.keys() {
        let reason = "not an adapter's tensor; its name must end in .lora_A.weight or .lora_B.weight";
        let layer = layer_of(name).map(str::to_owned);
        layers.insert(layer.ok_or_else(|| ModelError::tensor(folder, name, reason))?);
    }
    if layers.is_empty() {
        return Err(ModelError::format(folder, "no adapters to write"));
    }
    let settings = written_settings(config, base, lora, &layers);
    let staging = Staging::new(folder)?;
    staging.write(CONFIG, format!("{settings:#}\n").as_bytes())?;
    let named: Vec<(String, &Tensor)> = tensors.iter().map(|(name, t)| (format!("{PREFIX}{name}"), t)).collect();
    let named: Vec<(&str, &Tensor)> = named.iter().map(|(name, t)| (name.as_str(), *t)).collect();
    write_safetensors(&staging.path(WEIGHTS), &named, options.dtype)?;
    for (name, bytes) in extras.iter().filter(|(name, _)| *name != "generation_config.json") {
        staging.write(name, bytes)?;
    }
    staging.publish()
}

/// `adapter_config.json` as PEFT writes it.
fn written_settings(config: &CausalConfig, base: &str, lora: &LoraConfig, layers: &BTreeSet<String>) -> Value {
    let targets: BTreeSet<&str> = match &lora.targets {
        LoraTargets::Named(names) => names.iter().map(String::as_str).collect(),
        // PEFT, too, writes the names that "all-linear" expands to.
        LoraTargets::AllLinear => layers.iter().filter_map(|layer| layer.rsplit('.').next()).collect(),
    };
    let (base, revision) = hub::shared(base);
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": config.layout() == WeightLayout::InOut,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": lora.alpha,
        "lora_bias": lora.extra == LoraExtra::Bias,
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": revision,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": lora.extra == LoraExtra::Magnitude,
        "use_rslora": lora.rslora,
    })
}

/// The `base_model_name_or_path` of an adapter folder; of a name of the hub that is in the cache the path there.
pub(super) fn base_of(folder: &Path) -> Result<Option<String>, ModelError> {
    let settings = read_object(&folder.join(CONFIG))?;
    Ok(settings["base_model_name_or_path"].as_str().map(|base| hub::local(base, settings["revision"].as_str())))
}

/// Whether a folder is an adapter folder.
pub(super) fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// The kind of a tensor in the file.
enum Key {
    Half { layer: String, second: bool, embedding: bool },
    Bias(String),
    Magnitude(String),
    Replaced(String),
    OfBase(String),
}

impl Key {
    fn parse(name: &str, config: &CausalConfig, settings: &Settings) -> Result<Self, String> {
        let Some(path) = name.strip_prefix(PREFIX) else {
            return Err(format!("its name does not begin with `{PREFIX}`, so peft would leave it out"));
        };
        let head = config.head_name();
        if config.name_in_memory(head) != head && path.starts_with(head.trim_end_matches("weight")) {
            return Err(
                "transformers 5 has this layer as `lm_head`, and peft leaves out what has another name".to_owned()
            );
        }
        let canonical = |module: &str| {
            let whole = config.canonical_name(&format!("{module}.weight"));
            let layer = whole.and_then(|n| n.strip_suffix(".weight").map(str::to_owned));
            layer.ok_or_else(|| format!("`{module}` is no layer with a weight"))
        };
        if let Some((module, rest)) = path.split_once(".lora_magnitude_vector")
            && matches!(rest, "" | ".weight" | ".default" | ".default.weight")
        {
            return Ok(Self::Magnitude(canonical(module)?));
        }
        let kinds = [
            (".lora_A", false, false),
            (".lora_B", true, false),
            (".lora_embedding_A", false, true),
            (".lora_embedding_B", true, true),
        ];
        for (mark, second, embedding) in kinds {
            // After the mark: nothing, `.weight`, or an adapter name left by older versions.
            let Some((module, rest)) = path.split_once(mark) else { continue };
            match rest {
                "" | ".weight" | ".default" | ".default.weight" => {
                    return Ok(Self::Half { layer: canonical(module)?, second, embedding });
                }
                ".bias" | ".default.bias" if second && !embedding => return Ok(Self::Bias(canonical(module)?)),
                _ => {}
            }
        }
        Self::whole(path, config, settings)
    }

    /// A whole tensor, of a fully trained module or of the base.
    fn whole(path: &str, config: &CausalConfig, settings: &Settings) -> Result<Self, String> {
        let is_marked = path.contains(".modules_to_save.");
        let is_under = [".base_layer.", ".original_module."].into_iter().any(|mark| path.contains(mark));
        let plain = [".modules_to_save.default", ".modules_to_save", ".base_layer", ".original_module"];
        let plain = plain.iter().fold(path.to_owned(), |path, mark| path.replace(mark, ""));
        let found = config.canonical_name(&plain).ok_or_else(|| "not a tensor of this model".to_owned())?;
        let module = config.name_in_memory(&found);
        let module = module.rsplit_once('.').map_or(module, |(module, _)| module);
        let is_whole = is_marked || (!is_under && settings.is_saved_whole(module));
        Ok(if is_whole { Self::Replaced(found) } else { Self::OfBase(found) })
    }
}
