//! Reads Hugging Face model folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use engine::transfer::to_host;

use super::extras::read_object;
use super::{Extras, ModelFiles, ModelTokenizer, stored_types, text_part};
use crate::ModelError;
use crate::causal::{CausalConfig, CausalEncoder, SCORE};
use crate::tensors::{differences, some};
use crate::weights_file::WeightsFile;

/// Loads a folder of `config.json`, safetensors (one file, or shards and their index) and tokenizer files.
///
/// # Errors
/// A file that is missing, damaged or of another kind; tensors that are missing, unknown, of the wrong shape or not
/// finite.
pub(super) fn load(folder: &Path, device: &Device) -> Result<ModelFiles, ModelError> {
    load_headed(folder, device, Head::Vocabulary)
}

/// Whether the `config.json` in a folder names the class of a reward model.
pub fn is_reward(folder: &Path) -> bool {
    let class = read_object(&folder.join("config.json"))
        .ok()
        .and_then(|config| Some(config["architectures"].get(0)?.as_str()?.to_owned()));
    class.is_some_and(|class| class.ends_with("ForSequenceClassification"))
}

/// Loads a reward model from a Hugging Face folder, a decoder with a scalar head; its config and tensors make a
/// [`RewardModel`](crate::causal::RewardModel).
///
/// # Errors
/// Files that are missing or damaged, an unsupported architecture, tensors that do not match the config, more than one
/// label.
pub fn load_reward(folder: &Path, device: &Device) -> Result<ModelFiles, ModelError> {
    load_headed(folder, device, Head::Reward)
}

/// Loads a decoder for its hidden states, with or without an output matrix: the text encoder of a pipeline.
///
/// # Errors
/// As [`load_reward`].
pub(super) fn load_encoder(folder: &Path, device: &Device) -> Result<CausalEncoder, ModelError> {
    let path = folder.join("config.json");
    let mut config = parse_config(&path, read_object(&path)?)?;
    let (_, tensors) = read_weights(folder, &mut config, Head::None, false, device)?;
    CausalEncoder::new(config, tensors)
}

/// The head of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Vocabulary,
    Reward,
    /// None is read.
    None,
}

fn load_headed(folder: &Path, device: &Device, head: Head) -> Result<ModelFiles, ModelError> {
    let path = folder.join("config.json");
    let mut value = read_object(&path)?;
    let is_nested = text_part::unwrap(&mut value);
    let mut config = parse_config(&path, value)?;
    let (files, tensors) = read_weights(folder, &mut config, head, is_nested, device)?;
    let mut extras = Extras::read(folder)?;
    let tokenizer = ModelTokenizer::from_extras(folder, &extras, Some(&config))?;
    if let Some(tokenizer) = &tokenizer {
        tokenizer.agree(folder, &mut config, &mut extras)?;
    }
    let stored = stored_types::of_files(&files);
    let files = ModelFiles::plain(folder, config, tensors, tokenizer);
    Ok(ModelFiles { extras, stored, ..files })
}

/// Finds, checks and reads the tensors of the architecture, and resolves the tie of a tied output matrix.
fn read_weights(
    folder: &Path,
    config: &mut CausalConfig,
    head: Head,
    is_nested: bool,
    device: &Device,
) -> Result<(Vec<WeightsFile>, BTreeMap<String, Tensor>), ModelError> {
    let files = weight_files(folder, head)?.iter().map(|p| WeightsFile::open(p)).collect::<Result<Vec<_>, _>>()?;
    let mut places = places(config, &files, head, is_nested)?;
    if config.tied && head == Head::Vocabulary {
        settle_tie(config, &mut places, &files)?;
    }
    let found = places.iter().map(|(name, place)| (name.clone(), place.shape.clone())).collect();
    let path = if let [file] = files.as_slice() { file.path() } else { folder };
    match head {
        Head::Vocabulary => check_tensors(path, config, &found)?,
        Head::Reward => check_reward(path, config, &found)?,
        Head::None => {
            check_layers(path, config, found.len())?;
            compare(path, config.family.model_type(), &config.encoder_tensors(), &found)?;
        }
    }
    let mut tensors = BTreeMap::new();
    for (name, place) in places {
        tensors.insert(name, files[place.file].read(&place.stored, device)?);
    }
    Ok((files, tensors))
}

/// Validates a config; errors name the file.
pub(super) fn parse_config(path: &Path, value: serde_json::Value) -> Result<CausalConfig, ModelError> {
    CausalConfig::from_json(value).map_err(|e| match e {
        ModelError::Config { .. } | ModelError::Architecture { .. } => ModelError::format(path, e.to_string()),
        other => other,
    })
}

/// Finds the files that hold the weights.
fn weight_files(folder: &Path, head: Head) -> Result<Vec<PathBuf>, ModelError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.is_file() {
        return Ok(vec![single]);
    }
    if index.is_file() {
        return sharded(folder, &index);
    }
    Err(ModelError::format(folder, explain_no_weights(folder, head)?))
}

/// The shards in an index.
pub(super) fn sharded(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let value = read_object(index)?;
    let Some(map) = value["weight_map"].as_object().filter(|map| !map.is_empty()) else {
        return Err(ModelError::format(index, "`weight_map` must be an object of tensor names and file names"));
    };
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        // Only bare file names are accepted: others would read outside the folder.
        match file.as_str().filter(|f| Path::new(f).file_name().is_some_and(|n| n == *f)) {
            Some(file) => names.insert(file),
            None => return Err(ModelError::tensor(index, tensor, format!("its file is {file}, not a file name"))),
        };
    }
    let missing: Vec<&str> = names.iter().copied().filter(|n| !folder.join(n).is_file()).collect();
    if missing.is_empty() {
        Ok(names.into_iter().map(|n| folder.join(n)).collect())
    } else {
        let reason = format!("lists {} shards that are not there: {}", missing.len(), some(&missing));
        Err(ModelError::format(index, reason))
    }
}

fn explain_no_weights(folder: &Path, head: Head) -> Result<String, ModelError> {
    let entries = std::fs::read_dir(folder).map_err(|e| ModelError::io(folder, e))?;
    let names: BTreeSet<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let shards: Vec<&str> = names.iter().map(String::as_str).filter(|n| n.ends_with(".safetensors")).collect();
    Ok(if names.iter().any(|n| n.starts_with("pytorch_model")) {
        let class = match head {
            Head::Vocabulary => "AutoModelForCausalLM",
            Head::Reward => "AutoModelForSequenceClassification",
            Head::None => "AutoModel",
        };
        format!(
            "only pytorch_model.bin weights, which are Python pickles and are not read; convert them with: python -c \
             \"import sys; from transformers import {class} as M; M.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])\" FOLDER"
        )
    } else if names.contains("adapter_config.json") {
        "a PEFT adapter without its base; name both, as in BASE+ADAPTER".to_owned()
    } else if shards.is_empty() {
        "no weights: model.safetensors, or shards with model.safetensors.index.json, are expected".to_owned()
    } else {
        format!(
            "neither model.safetensors nor model.safetensors.index.json, only {}; the index tells which shards belong together",
            some(&shards)
        )
    })
}

/// The location, type and shape of a tensor.
#[derive(Debug)]
struct TensorLocation {
    file: usize,
    stored: String,
    shape: Vec<usize>,
}

/// The location of each tensor of the architecture.
fn places(
    config: &CausalConfig,
    files: &[WeightsFile],
    head: Head,
    is_nested: bool,
) -> Result<BTreeMap<String, TensorLocation>, ModelError> {
    let mut places: BTreeMap<String, TensorLocation> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        if let Some(stored) = file.entries().keys().find(|stored| is_quantised(stored)) {
            let reason = "the weights are quantised; bring the model as it was before, in F32, F16, BF16 or F64";
            return Err(ModelError::tensor(file.path(), stored, reason));
        }
        for (stored, entry) in file.entries() {
            let plain = if is_nested { text_part::name(stored) } else { Some(stored.clone()) };
            let Some(plain) = plain else { continue };
            let name = match head {
                Head::Vocabulary => config.canonical_name(&plain),
                Head::Reward => config.canonical_reward_name(&plain),
                Head::None => config.canonical_encoder_name(&plain),
            };
            let Some(name) = name else { continue };
            let place = TensorLocation { file: index, stored: stored.clone(), shape: entry.shape.clone() };
            if let Some(twin) = places.insert(name, place) {
                let reason = format!("also stored as `{}` in {}", twin.stored, files[twin.file].path().display());
                return Err(ModelError::tensor(file.path(), stored, reason));
            }
        }
    }
    Ok(places)
}

/// Whether a tensor is part of a quantised weight, by the names of common quantisers.
fn is_quantised(stored: &str) -> bool {
    const PARTS: [&str; 8] =
        ["qweight", "qzeros", "absmax", "quant_map", "SCB", "weight_packed", "weight_scale", "weight_scale_inv"];
    stored.rsplit('.').next().is_some_and(|part| PARTS.contains(&part))
}

/// Resolves the output matrix of a tied model as transformers 5 does. If only the output matrix is stored, it is the
/// embedding too; if a different embedding is stored beside it, the two are untied, whatever the config says.
fn settle_tie(
    config: &mut CausalConfig,
    places: &mut BTreeMap<String, TensorLocation>,
    files: &[WeightsFile],
) -> Result<(), ModelError> {
    let (embedding, head) = (config.embedding_name(), config.head_name());
    let Some(place) = places.remove(head) else { return Ok(()) };
    match places.get(&embedding) {
        None => drop(places.insert(embedding, place)),
        Some(twin) if twin.shape == place.shape && same_numbers(files, twin, &place)? => {}
        Some(_) => {
            places.insert(head.to_owned(), place);
            config.untie();
        }
    }
    Ok(())
}

fn same_numbers(files: &[WeightsFile], a: &TensorLocation, b: &TensorLocation) -> Result<bool, ModelError> {
    let numbers = |place: &TensorLocation| {
        let tensor = files[place.file].read(&place.stored, &Device::Cpu)?;
        Ok::<_, ModelError>(to_host::<f32>(&tensor)?)
    };
    Ok(numbers(a)? == numbers(b)?)
}

/// Compares the stored tensors with those of the config.
///
/// # Errors
/// One message that lists some of the missing, unknown and wrongly shaped tensors.
pub(super) fn check_tensors(
    path: &Path,
    config: &CausalConfig,
    found: &BTreeMap<String, Vec<usize>>,
) -> Result<(), ModelError> {
    check_layers(path, config, found.len())?;
    compare(path, config.family.model_type(), &config.expected_tensors(), found)
}

/// Compares the stored tensors with those of a reward model.
fn check_reward(path: &Path, config: &CausalConfig, found: &BTreeMap<String, Vec<usize>>) -> Result<(), ModelError> {
    check_layers(path, config, found.len())?;
    if let Some([labels @ (0 | 2..), _]) = found.get(SCORE).map(Vec::as_slice) {
        let reason = format!("has {labels} labels, so it is a classifier; a reward model has one");
        return Err(ModelError::tensor(path, SCORE, reason));
    }
    compare(path, "reward model's", &config.reward_tensors(), found)
}

/// Refuses a config with more layers than tensors, before names are generated for a billion of them.
fn check_layers(path: &Path, config: &CausalConfig, n_tensors: usize) -> Result<(), ModelError> {
    if config.n_layers <= n_tensors {
        return Ok(());
    }
    let reason = format!("{n_tensors} tensors can't be the {} layers of its config.json", config.n_layers);
    Err(ModelError::format(path, reason))
}

/// Compares tensors with those of a model of kind `what`.
///
/// # Errors
/// One message that lists some of the missing, unknown and wrongly shaped tensors.
pub(super) fn compare(
    path: &Path,
    what: &str,
    expected: &BTreeMap<String, Vec<usize>>,
    found: &BTreeMap<String, Vec<usize>>,
) -> Result<(), ModelError> {
    differences(expected, found).map_or(Ok(()), |problems| {
        let reason = format!("the weights are not those of its {what} config.json: {problems}");
        Err(ModelError::format(path, reason))
    })
}
