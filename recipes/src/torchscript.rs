//! Policies of TorchScript: which settings go with them, and which don't.
use std::path::{Path, PathBuf};

use models::causal::CausalConfig;
use models::formats::{DenoiserFiles, ModelFiles};
use torch::{ImageSettings, Settings, TorchFiles};

use crate::settings::{ComputePrecision, Field, PredictionName as Given, SaveDtype, Values, at};
use crate::{Failure, device};

/// The TorchScript file of a name, if it is one's; an adapter on one is refused.
pub(crate) fn of_name(name: &str) -> Result<Option<PathBuf>, Failure> {
    let base = name.split_once('+').filter(|_| !Path::new(name).exists());
    if let Some((base, adapter)) = base.filter(|(base, _)| torch::find(base).is_some()) {
        let text = format!("{base} is TorchScript, which takes no adapters such as {adapter}");
        return Err(Failure::usage(text));
    }
    Ok(torch::find(name))
}

/// Whether a name is that of a TorchScript file with a network that denoises.
pub(crate) fn denoises(name: &str) -> bool {
    // What is wrong with its settings is said where it is loaded.
    torch::find(name).is_some_and(|path| matches!(torch::settings_of(&path), Ok(Settings::Images(_))))
}

/// Loads a language model.
pub(crate) fn language_model(path: &Path, values: &Values) -> Result<ModelFiles, Failure> {
    check_device(path, values)?;
    // Which kind it is stands in its settings, whatever else is wrong.
    if let Settings::Images(_) = torch::settings_of(path)? {
        return Err(other_kind(path, "denoiser", "diffusion"));
    }
    match torch::load(path)? {
        TorchFiles::Tokens(files) => Ok(*files),
        TorchFiles::Images(_) => Err(other_kind(path, "denoiser", "diffusion")),
    }
}

/// Loads a network that denoises, with its settings.
pub(crate) fn denoiser(path: &Path, values: &Values) -> Result<(DenoiserFiles, ImageSettings), Failure> {
    check_device(path, values)?;
    let Settings::Images(settings) = torch::settings_of(path)? else {
        return Err(other_kind(path, "token-logits", "token"));
    };
    let given = |field: &Field| Failure::usage(format!("{field}: {} says it itself, in its .json", path.display()));
    if values.model.scheduler().is_some() {
        return Err(given(&at::model::scheduler));
    }
    if values.model.prediction() != Given::Auto {
        return Err(given(&at::model::prediction));
    }
    match torch::load(path)? {
        TorchFiles::Images(files) => Ok((*files, settings)),
        TorchFiles::Tokens(_) => Err(other_kind(path, "token-logits", "token")),
    }
}

fn other_kind(path: &Path, kind: &str, mdp: &str) -> Failure {
    Failure::usage(format!("{} is of kind {kind} (its .json says so), which is for `run.mdp` {mdp}", path.display()))
}

fn check_device(path: &Path, values: &Values) -> Result<(), Failure> {
    if values.run.precision() == ComputePrecision::Bf16 {
        let why = "LibTorch computes in the types that the policy has";
        return Err(Failure::usage(format!(
            "`run.precision` bf16 is not for TorchScript such as {}: {why}",
            path.display()
        )));
    }
    if device::open(values)?.is_cpu() {
        return Ok(());
    }
    Err(Failure::usage(format!("{}: TorchScript runs on the CPU here, and `run.device` is another", path.display())))
}

/// Refuses settings of training that a TorchScript policy can't follow.
pub(crate) fn check_training(path: &Path, values: &Values) -> Result<(), Failure> {
    let refuse = |field: &Field, why: &str| {
        Err(Failure::usage(format!("{field} is not for TorchScript such as {}: {why}", path.display())))
    };
    if values.model.lora_rank().is_some() {
        return refuse(&at::model::lora_rank, "its layers are not known here, so all its weights learn");
    }
    if values.model.activation_checkpointing() {
        return refuse(&at::model::activation_checkpointing, "its activations are LibTorch's");
    }
    if !matches!(values.model.save_dtype(), SaveDtype::Auto | SaveDtype::F32) {
        return refuse(&at::model::save_dtype, "it is written in f32, as it was read");
    }
    Ok(())
}

/// Refuses TorchScript where a model is to be written in another form.
pub(crate) fn refuse_export(name: &str) -> Result<(), Failure> {
    match of_name(name)? {
        None => Ok(()),
        Some(path) => Err(Failure::usage(format!(
            "{}: what TorchScript computes has no form in the formats of Hugging Face; the file itself is what PyTorch loads",
            path.display()
        ))),
    }
}

/// The architecture of a language model, for people.
pub(crate) fn architecture(config: &CausalConfig) -> &'static str {
    if config.external.is_some() { "TorchScript" } else { config.family.model_type() }
}
