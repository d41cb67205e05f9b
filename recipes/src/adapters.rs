//! LoRA settings, and the checks of an adapter that continues training.
use std::path::Path;

use engine::lora::{AdaptableLayer, LoraConfig, LoraExtra, LoraTargets};

use crate::Failure;
use crate::embedded::is_embedded;
use crate::settings::{Field, Values, at};

/// The LoRA config of the settings, on `usual` layers unless they name others.
pub(crate) fn lora_config(values: &Values, usual: &[&str]) -> Result<Option<LoraConfig>, Failure> {
    let Some(rank) = values.model.lora_rank() else { return Ok(None) };
    let names = values.model.lora_targets();
    let usual = || usual.iter().map(|name| (*name).to_owned()).collect();
    let names = if names.is_empty() { usual() } else { names.to_vec() };
    let targets =
        if names.iter().any(|n| n == "all-linear") { LoraTargets::AllLinear } else { LoraTargets::Named(names) };
    let alpha = values.model.lora_alpha();
    if rank == 0 {
        return Err(Failure::usage("`model.lora_rank` takes at least 1"));
    }
    if alpha <= 0.0 {
        return Err(Failure::usage(format!("`model.lora_alpha` takes a positive number, not {alpha}")));
    }
    let extra = match (values.model.dora(), values.model.lora_bias()) {
        (false, false) => LoraExtra::None,
        (false, true) => LoraExtra::Bias,
        (true, false) => LoraExtra::Magnitude,
        (true, true) => {
            return Err(Failure::usage("`model.dora` and `model.lora_bias` do not go together, nor in peft"));
        }
    };
    Ok(Some(LoraConfig { rank, alpha, rslora: values.model.rslora(), targets, extra }))
}

/// Copies an adapter file's config into the settings.
pub(crate) fn set_lora(lora: Option<&LoraConfig>, values: &mut Values) {
    let Some(lora) = lora else { return };
    values.set(|settings| {
        settings.model.lora_alpha = lora.alpha;
        settings.model.rslora = lora.rslora;
        settings.model.dora = lora.extra == LoraExtra::Magnitude;
        settings.model.lora_bias = lora.extra == LoraExtra::Bias;
        if let LoraTargets::Named(names) = &lora.targets {
            settings.model.lora_targets.clone_from(names);
        }
    });
}

/// Refuses LoRA settings other than those of an adapter that continues training.
pub(crate) fn refuse_other(
    requested: &LoraConfig,
    own: &LoraConfig,
    layers: &[AdaptableLayer],
    adapter: &str,
    values: &Values,
) -> Result<(), Failure> {
    let wrong = |field: &Field, requested: String, own: String| {
        let text = format!("{field} {requested}: the adapter {adapter} that goes on learning has {own}");
        Err(Failure::usage(text))
    };
    if requested.rank != own.rank {
        return wrong(&at::model::lora_rank, requested.rank.to_string(), own.rank.to_string());
    }
    // A run's config file gives all values, whether the user chose them or not.
    let is_meant = |field| values.is_typed(field) || values.is_changed(field);
    if is_meant(&at::model::lora_alpha) && (requested.alpha - own.alpha).abs() > 1e-9 {
        return wrong(&at::model::lora_alpha, requested.alpha.to_string(), own.alpha.to_string());
    }
    if is_meant(&at::model::rslora) && requested.rslora != own.rslora {
        return wrong(&at::model::rslora, requested.rslora.to_string(), own.rslora.to_string());
    }
    for (field, extra) in [(&at::model::dora, LoraExtra::Magnitude), (&at::model::lora_bias, LoraExtra::Bias)] {
        let [asked, has] = [requested.extra == extra, own.extra == extra];
        if is_meant(field) && asked != has {
            return wrong(field, asked.to_string(), has.to_string());
        }
    }
    if values.is_typed(&at::model::lora_targets)
        && layers.iter().any(|layer| requested.is_target(layer) != own.is_target(layer))
    {
        return wrong(&at::model::lora_targets, values.model.lora_targets().join(","), "layers of its own".to_owned());
    }
    Ok(())
}

/// Whether the base model that an adapter names is embedded or exists on disk.
pub(crate) fn base_exists(base: &str) -> bool {
    is_embedded(base) || Path::new(base).exists()
}

/// The error of stacked adapters: an adapter file can name only a plain base model.
pub(crate) fn refuse_nested(adapter: &str, base: &str) -> Failure {
    Failure::usage(format!(
        "`model.lora_rank`: the base of {adapter} is {base}, an adapter itself, which an adapter's file can't name; merge the \
         two, or train all weights without `model.lora_rank`"
    ))
}
