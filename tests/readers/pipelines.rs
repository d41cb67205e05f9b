//! Folders of diffusers: their configs, weights, tokenizers and schedules.

use candle_core::Device;
use models::formats::{DiffusersFolder, load_denoiser};
use models::sampler::Sampler;
use models::scheduler::Scheduler;

use super::{scene, told};

macro_rules! golden {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../golden/companions/sd/", $name)).as_slice())),*]
    };
}

/// The files of a small pipeline.
const BASE: [(&str, &[u8]); 12] = golden!(
    "model_index.json" "scheduler/scheduler_config.json" "text_encoder/config.json" "text_encoder/model.safetensors"
    "tokenizer/vocab.json" "tokenizer/merges.txt" "tokenizer/tokenizer_config.json" "tokenizer/special_tokens_map.json"
    "unet/config.json" "unet/diffusion_pytorch_model.safetensors" "vae/config.json"
    "vae/diffusion_pytorch_model.safetensors"
);

/// Files of other pipelines.
const OTHERS: [&str; 5] = [
    "transformer/config.json",
    "text_encoder_2/config.json",
    "text_encoder_3/config.json",
    "tokenizer/tokenizer.json",
    "tokenizer_2/tokenizer.json",
];

/// A pipeline; the files that an input lacks are those of a valid one.
pub(crate) fn folder(input: &[u8]) -> Result<(), String> {
    let names: Vec<&str> = BASE.iter().map(|(name, _)| *name).chain(OTHERS).collect();
    let folder = scene::folder(input, &BASE, &names);
    let parts = scene::parts(input);
    let reads = |start: &str| parts.iter().any(|(name, _)| name.starts_with(start));
    let scheduled = schedule(&folder.path().join("scheduler/scheduler_config.json"));
    let found = DiffusersFolder::open(folder.path()).map_err(told)?;
    let _ = found.config().map_err(told)?;
    if reads("unet") || reads("transformer") {
        load_denoiser(found.denoiser(), &Device::Cpu).map_err(told)?;
    }
    if reads("vae") {
        found.vae(&Device::Cpu).map_err(told)?;
    }
    if reads("text_encoder") || reads("tokenizer") {
        found.language_encoder(&Device::Cpu).map_err(told)?;
        if let Some(conditioner) = found.conditioner(&Device::Cpu).map_err(told)? {
            conditioner.truncated(&["a dog, 3 of them"]).map_err(told)?;
        }
    }
    scheduled
}

/// A schedule, and the steps of several samplers on it.
fn schedule(path: &std::path::Path) -> Result<(), String> {
    let scheduler = Scheduler::read(path).map_err(told)?;
    let own = scheduler.sampler();
    for sampler in own.into_iter().chain([Sampler::Ddim { eta: 0.5 }, Sampler::Euler, Sampler::DpmSolverPlusPlus2M]) {
        for steps in [1, 7] {
            let Ok(plan) = scheduler.plan(sampler, steps) else { continue };
            assert!(!plan.timesteps.is_empty() && plan.timesteps.is_sorted_by(|first, second| first >= second));
        }
    }
    Ok(())
}
