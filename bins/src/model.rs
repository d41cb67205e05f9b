//! Models by what the user calls them.
use std::path::Path;

use datasets::{ChatTemplate, Date};
use engine::Noise;
use engine::lora::{LoraConfig, LoraTargets};
use engine::optim::{AdamW, Optimizer, RmsProp, Sgd};
use policies::causal::{CausalConfig, CausalLm, Keep, Training};
use policies::formats::{self, Extras, ModelFiles};

use crate::Failure;
use crate::values::Values;

/// The embedded model: its folder's files, made by `scripts/train-embedded.sh`.
const EMBEDDED: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../embedded/tldr/config.json")),
    ("generation_config.json", include_bytes!("../embedded/tldr/generation_config.json")),
    ("model.safetensors", include_bytes!("../embedded/tldr/model.safetensors")),
    ("tokenizer.json", include_bytes!("../embedded/tldr/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../embedded/tldr/tokenizer_config.json")),
];

/// The names of embedded models.
const BUILTIN: &str = "builtin:tldr (trained on demonstrations) and builtin:tldr-untrained";

/// Loads what `--model` or `--reference` names.
pub(crate) fn load(name: &str, values: &Values) -> Result<ModelFiles, Failure> {
    let device = engine::device::parse(values.word("run.device")).map_err(|e| Failure::usage(e.to_string()))?;
    if let Some((base, adapter)) = embedded_base(name)? {
        let files = load(&base, values)?;
        return Ok(formats::add_adapter(files, Path::new(&base), Path::new(&adapter), &device)?);
    }
    match name.strip_prefix("builtin:") {
        Some("tldr") => embedded(&device),
        Some("tldr-untrained") => untrained(&device, values),
        Some(other) => Err(Failure::usage(format!("there is no embedded model `{other}`; there are {BUILTIN}"))),
        None => Ok(formats::load(Path::new(name), &device)?),
    }
}

/// The two parts of `builtin:NAME+ADAPTER`, or of an adapter that was trained on an embedded model.
fn embedded_base(name: &str) -> Result<Option<(String, String)>, Failure> {
    if name.starts_with("builtin:") {
        return Ok(name.split_once('+').map(|(base, adapter)| (base.to_owned(), adapter.to_owned())));
    }
    let base = formats::adapter_base(Path::new(name))?.filter(|base| base.starts_with("builtin:"));
    Ok(base.map(|base| (base, name.to_owned())))
}

fn embedded(device: &candle_core::Device) -> Result<ModelFiles, Failure> {
    let folder = tempfile::tempdir()?;
    for (name, bytes) in EMBEDDED {
        std::fs::write(folder.path().join(name), bytes)?;
    }
    let mut files = formats::load(folder.path(), device)?;
    files.path = "builtin:tldr".into();
    Ok(files)
}

/// A fresh model of the embedded model's shape, drawn from the seed.
fn untrained(device: &candle_core::Device, values: &Values) -> Result<ModelFiles, Failure> {
    let seed = values.count("run.seed").unwrap_or(0) as u64;
    let json = include_str!("../embedded/tldr/config.json");
    let config = CausalConfig::from_json(serde_json::from_str(json)?)?;
    let tensors = config.initial_tensors(&Noise::new(seed), device)?;
    let mut extras = Extras::default();
    for (name, bytes) in EMBEDDED.iter().filter(|(name, _)| !matches!(*name, "config.json" | "model.safetensors")) {
        extras.insert(*name, bytes.to_vec());
    }
    let path = std::path::PathBuf::from("builtin:tldr-untrained");
    let tokenizer = formats::ModelTokenizer::from_extras(&path, &extras, &config.eos)?;
    Ok(ModelFiles { path, config, tensors, tokenizer, extras })
}

/// The model that learns.
pub(crate) fn learner(files: ModelFiles, values: &Values) -> Result<CausalLm, Failure> {
    let training = Training {
        optimizer: optimizer(values)?,
        lora: lora(values)?,
        seed: values.count("run.seed").unwrap_or(0) as u64,
        keep: if values.switch("model.activation_checkpointing") { Keep::Borders } else { Keep::Activations },
    };
    Ok(CausalLm::trainable(files, training)?)
}

/// The optimiser that the settings name.
pub(crate) fn optimizer(values: &Values) -> Result<Box<dyn Optimizer>, Failure> {
    let number = |path| values.number(path).unwrap_or_default();
    let name = values.word("optimizer.name");
    for (flag, path, of) in
        [("weight-decay", "optimizer.weight_decay", "adamw"), ("momentum", "optimizer.momentum", "sgd")]
    {
        if number(path) != 0.0 && name != of {
            return Err(Failure::usage(format!("--{flag} is for --optimizer {of}, not {name}")));
        }
    }
    let made: Result<Box<dyn Optimizer>, _> = match name {
        "adamw" => AdamW::new((0.9, 0.999), 1e-8, number("optimizer.weight_decay")).map(|o| Box::new(o) as _),
        "sgd" => Sgd::new(number("optimizer.momentum")).map(|o| Box::new(o) as _),
        _ => RmsProp::new(0.99, 1e-8).map(|o| Box::new(o) as _),
    };
    let flag = if name == "adamw" { "weight-decay" } else { "momentum" };
    made.map_err(|error| Failure::usage(format!("--{flag}: {error}")))
}

fn lora(values: &Values) -> Result<Option<LoraConfig>, Failure> {
    let Some(rank) = values.count("model.lora_rank") else {
        for (flag, path) in
            [("lora-alpha", "model.lora_alpha"), ("lora-targets", "model.lora_targets"), ("rslora", "model.rslora")]
        {
            if values.is_changed(path) {
                return Err(Failure::usage(format!("--{flag} needs --lora-rank")));
            }
        }
        return Ok(None);
    };
    let names = values.list("model.lora_targets");
    let targets =
        if names.iter().any(|n| n == "all-linear") { LoraTargets::AllLinear } else { LoraTargets::Named(names) };
    let alpha = values.number("model.lora_alpha").unwrap_or(16.0);
    if rank == 0 {
        return Err(Failure::usage("--lora-rank takes at least 1"));
    }
    if alpha <= 0.0 {
        return Err(Failure::usage(format!("--lora-alpha takes a positive number, not {alpha}")));
    }
    Ok(Some(LoraConfig { rank, alpha, rslora: values.switch("model.rslora"), targets }))
}

/// The model's chat template, where it has one.
pub(crate) fn template(files: &ModelFiles) -> Result<Option<ChatTemplate>, Failure> {
    let Some(tokenizer) = &files.tokenizer else { return Ok(None) };
    let Some(text) = &tokenizer.chat_template else { return Ok(None) };
    let tokens = [("bos_token", &tokenizer.bos_token), ("eos_token", &tokenizer.eos_token)];
    let tokens: Vec<(&str, &str)> =
        tokens.iter().filter_map(|(name, token)| Some((*name, token.as_deref()?))).collect();
    // The date is fixed, so that the same data gives the same tokens on any day.
    Ok(Some(ChatTemplate::new(text, &tokens, Date::default())?))
}
