//! LoRA adapters of UNets in the file that diffusers' pipelines load: `pytorch_lora_weights.safetensors`.
//!
//! A layer `P` has the tensors `unet.P.lora_A.weight` and `unet.P.lora_B.weight`; those of a convolution are kernels. PEFT's
//! settings are in the header, so that an alpha other than the rank survives. Files of older versions, with `.alpha`
//! tensors or with names of attention processors, are read too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use engine::lora::{Adapter, LoraConfig, LoraTargets, merged_weight};
use engine::ops::WeightLayout;
use serde_json::{Map, Value, json};

use super::LoraLayer;
use super::component::{from_file, to_file};
use super::lora_settings::{Halves, Settings, TrainedLora};
use super::safetensors::SafetensorsFile;
use super::save::write_described;
use super::staging::Staging;
use crate::PolicyError;
use crate::unet::UNetConfig;

const FILE: &str = "pytorch_lora_weights.safetensors";
/// What diffusers puts before the name of a UNet's module.
const PREFIX: &str = "unet.";
/// Where in the header PEFT's settings are.
const SETTINGS: &str = "lora_adapter_metadata";

/// Adapters as read from disk.
#[derive(Clone, Debug)]
pub struct UNetLora {
    /// The file they were read from.
    pub path: PathBuf,
    /// What they were trained on, if the file says so.
    pub base: Option<String>,
    /// The change to each weight, by the layer's name without `.weight`; kernels are `[out, height, width, in]`.
    pub layers: BTreeMap<String, LoraLayer>,
}

impl UNetLora {
    /// The adapters as parameters of a model of this configuration, to go on learning.
    ///
    /// # Errors
    /// Adapters of several ranks or strengths.
    pub fn trained(&self, config: &UNetConfig) -> Result<TrainedLora, PolicyError> {
        TrainedLora::new(&self.layers, &config.adaptable_layers()).map_err(|reason| {
            let reason = format!("{reason}, and adapters that learn share one rank and one alpha");
            PolicyError::format(&self.path, reason)
        })
    }
}

/// Loads adapters from a file, or from the folder it is in, for a model of this configuration.
///
/// # Errors
/// Damaged files, adapters of another kind or of a text encoder, layers that the model doesn't have, tensors without
/// their partner or of another shape.
pub fn load_unet_lora(path: &Path, config: &UNetConfig, device: &Device) -> Result<UNetLora, PolicyError> {
    let path = if path.is_dir() { path.join(FILE) } else { path.to_path_buf() };
    let mut file = SafetensorsFile::open(&path)?;
    let settings = settings(&path, file.metadata().get(SETTINGS))?;
    let names: Vec<String> = file.entries().keys().cloned().collect();
    let (mut halves, mut alphas) = (BTreeMap::<String, Halves>::new(), BTreeMap::new());
    for name in names {
        let (layer, part) = parse(&name).map_err(|reason| PolicyError::tensor(&path, &name, reason))?;
        let tensor = from_file(file.read(&name, device)?)?;
        match part {
            Part::A => halves.entry(layer).or_default().a = Some(tensor),
            Part::B => halves.entry(layer).or_default().b = Some(tensor),
            Part::Alpha => drop(alphas.insert(layer, f64::from(tensor.flatten_all()?.get(0)?.to_scalar::<f32>()?))),
        }
    }
    if halves.is_empty() {
        return Err(PolicyError::format(&path, "no LoRA tensors"));
    }
    let shapes = config.tensor_shapes();
    let mut layers = BTreeMap::new();
    for (name, halves) in halves {
        let wrong = |reason: String| PolicyError::tensor(&path, &name, reason);
        let layer = match &settings {
            Some(settings) => settings.layer(&name, halves),
            None => plain(halves, alphas.get(&name).copied()),
        };
        let layer = layer.map_err(wrong)?;
        let shape = shapes.get(&format!("{name}.weight")).ok_or_else(|| wrong("the model has no such layer".into()))?;
        check_fits(&layer, shape).map_err(wrong)?;
        layers.insert(name, layer);
    }
    Ok(UNetLora { path, base: settings.and_then(|settings| settings.base), layers })
}

/// What adapters were trained on, as their file says; `path` is the file or the folder it is in.
///
/// # Errors
/// A damaged file.
pub fn unet_lora_base(path: &Path) -> Result<Option<String>, PolicyError> {
    let path = if path.is_dir() { path.join(FILE) } else { path.to_path_buf() };
    let file = SafetensorsFile::open(&path)?;
    Ok(settings(&path, file.metadata().get(SETTINGS))?.and_then(|settings| settings.base))
}

/// Adds adapters to a model's weights.
///
/// # Errors
/// A layer the model doesn't have, or one of another shape.
pub fn merge_unet_lora(lora: &UNetLora, tensors: &mut BTreeMap<String, Tensor>) -> Result<(), PolicyError> {
    for (name, layer) in &lora.layers {
        let Some(weight) = tensors.get_mut(&format!("{name}.weight")) else {
            return Err(PolicyError::tensor(&lora.path, name, "the model has no such layer"));
        };
        check_fits(layer, weight.dims()).map_err(|reason| PolicyError::tensor(&lora.path, name, reason))?;
        let adapter = Adapter { a: &layer.a, b: &layer.b, scale: layer.scale };
        *weight = merged_weight(weight, WeightLayout::OutIn, adapter)?;
    }
    Ok(())
}

/// Writes a folder with the file that diffusers' `load_lora_weights` loads, whole or not at all.
///
/// `tensors` are the adapters under the names `P.lora_A.weight` and `P.lora_B.weight`; `base` is what they were trained
/// on and is written as it is.
///
/// # Errors
/// No adapters, a name of another form, or the system refuses to write.
pub fn save_unet_lora(
    folder: &Path,
    base: &str,
    lora: &LoraConfig,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<(), PolicyError> {
    let mut layers = BTreeSet::new();
    let mut named = Vec::new();
    for (name, tensor) in tensors {
        let layer = name.strip_suffix(".lora_A.weight").or_else(|| name.strip_suffix(".lora_B.weight"));
        let reason = "not an adapter's tensor; its name must end in .lora_A.weight or .lora_B.weight";
        layers.insert(layer.ok_or_else(|| PolicyError::tensor(folder, name, reason))?);
        named.push((format!("{PREFIX}{name}"), to_file(tensor)?));
    }
    if layers.is_empty() {
        return Err(PolicyError::format(folder, "no adapters to write"));
    }
    let targets: Vec<&str> = match &lora.targets {
        LoraTargets::Named(names) => names.iter().map(String::as_str).collect(),
        LoraTargets::AllLinear => layers.into_iter().collect(),
    };
    let named: Vec<(&str, &Tensor)> = named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let staging = Staging::new(folder)?;
    let described = [(SETTINGS, format!("{:#}", Value::Object(written_settings(base, lora, &targets))))];
    write_described(&staging.path(FILE), &named, DType::F32, &described)?;
    staging.publish()
}

/// PEFT's settings as diffusers puts them into the header.
fn written_settings(base: &str, lora: &LoraConfig, targets: &[&str]) -> Map<String, Value> {
    let settings = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": base,
        "bias": "none",
        "init_lora_weights": true,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "target_modules": targets,
        "use_dora": false,
        "use_rslora": lora.rslora,
    });
    let settings = settings.as_object().into_iter().flatten();
    settings.map(|(key, value)| (format!("{PREFIX}{key}"), value.clone())).collect()
}

enum Part {
    A,
    B,
    Alpha,
}

/// The layer that a tensor belongs to, and which part of its adapter it is.
fn parse(name: &str) -> Result<(String, Part), String> {
    if name.starts_with("text_encoder") {
        return Err("adapters of a text encoder are not supported; only the UNet's are".to_owned());
    }
    if name.starts_with("lora_unet_") || name.starts_with("lora_te") {
        return Err("a file of kohya's scripts; load it with diffusers and save it again".to_owned());
    }
    if name.contains("lora_magnitude_vector") {
        return Err("DoRA is not supported".to_owned());
    }
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    let ends = [
        (".lora_A.weight", Part::A),
        (".lora_B.weight", Part::B),
        (".lora.down.weight", Part::A),
        (".lora.up.weight", Part::B),
        ("_lora.down.weight", Part::A),
        ("_lora.up.weight", Part::B),
        (".alpha", Part::Alpha),
    ];
    let found = ends.into_iter().find_map(|(end, part)| Some((path.strip_suffix(end)?, part)));
    let Some((layer, part)) = found else { return Err("not a tensor of a LoRA adapter".to_owned()) };
    // Names of attention processors leave out that the output projection is a list.
    let layer = layer.replace(".processor.", ".");
    let is_output = layer.ends_with(".to_out");
    Ok((if is_output { format!("{layer}.0") } else { layer }, part))
}

/// PEFT's settings of the UNet in the header, if they are there.
fn settings(path: &Path, text: Option<&String>) -> Result<Option<Settings>, PolicyError> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |e: &serde_json::Error| PolicyError::format(path, format!("broken `{SETTINGS}` in the header: {e}"));
    let all: Map<String, Value> = serde_json::from_str(text).map_err(|e| wrong(&e))?;
    let of_unet = all.into_iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.to_owned(), value)));
    let mut of_unet: Map<String, Value> = of_unet.collect();
    if of_unet.is_empty() {
        return Ok(None);
    }
    of_unet.entry("peft_type").or_insert_with(|| json!("LORA"));
    Ok(Some(Settings::of(path, &Value::Object(of_unet))?))
}

/// An adapter without settings: its alpha is its rank, if the file does not have another.
fn plain(halves: Halves, alpha: Option<f64>) -> Result<LoraLayer, String> {
    let Halves { a: Some(a), b: Some(b), embedding } = halves else {
        return Err("one of lora_A and lora_B is missing".to_owned());
    };
    let rank = a.dims().first().copied().unwrap_or(0);
    let scale = alpha.map_or(1., |alpha| alpha / rank as f64);
    if scale.is_finite() {
        Ok(LoraLayer { a, b, scale, rslora: false, embedding })
    } else {
        Err("its rank is 0".to_owned())
    }
}

fn check_fits(layer: &LoraLayer, shape: &[usize]) -> Result<(), String> {
    let (a, b) = (layer.a.dims(), layer.b.dims());
    let fits = match (a, b, shape) {
        ([r, a_in], [b_out, s], [n_out, n_in]) => r == s && a_in == n_in && b_out == n_out,
        ([r, a @ ..], [b_out, 1, 1, s], [n_out, kernel @ ..]) => r == s && a == kernel && b_out == n_out,
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("its factors {a:?} and {b:?} are no change to a weight of {shape:?}")) }
}
