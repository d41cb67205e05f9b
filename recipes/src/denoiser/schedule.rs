//! Schedulers and sampling plans of denoisers.
use std::path::{Path, PathBuf};

use models::denoiser::DenoiserConfig;
use models::formats::DiffusersFolder;
use models::sampler::{Sampler, SamplingPlan};
use models::scheduler::{Scheduler, SchedulerKind};
use serde_json::Value;
use torch::ImageSettings;

use super::Loaded;
use crate::Failure;
use crate::settings::{PredictionName, SamplerName, Values};

/// The scheduler of a bare transformer: the flow matching of Stable Diffusion 3 and Z-Image Turbo.
const FLOW_SCHEDULER: &str =
    r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}"#;

/// The scheduler of a bare transformer of FLUX.1 schnell.
const SCHNELL_SCHEDULER: &str =
    r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}"#;

/// The scheduler of a bare transformer of FLUX.1 dev, whose shift depends on the size of the images.
const DEV_SCHEDULER: &str = r#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000,
"shift": 3.0, "use_dynamic_shifting": true, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
"max_image_seq_len": 4096}"#;

/// The scheduler of a bare UNet: Stable Diffusion's noise schedule.
const DEFAULT_SCHEDULER: &str = r#"{"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear",
"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000, "clip_sample": false,
"set_alpha_to_one": false, "steps_offset": 1, "prediction_type": "epsilon"}"#;

/// The scheduler of a bare PixArt or DiT transformer: the noise schedule of both.
const LINEAR_SCHEDULER: &str = r#"{"_class_name": "DDIMScheduler", "beta_schedule": "linear", "beta_start": 0.0001,
"beta_end": 0.02, "num_train_timesteps": 1000, "clip_sample": false, "prediction_type": "epsilon"}"#;

/// The scheduler that `model.scheduler` names, or the folder's own, with `model.prediction`.
pub(super) fn scheduler(
    folder: &DiffusersFolder,
    config: &DenoiserConfig,
    values: &Values,
) -> Result<Scheduler, Failure> {
    let own = folder.component("scheduler").map(|part| part.path.join("scheduler_config.json"));
    let path = values.model.scheduler().map(PathBuf::from).or(own);
    let (path, text) = if let Some(path) = path {
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        (path, text)
    } else {
        let text = match config {
            DenoiserConfig::UNet(_) | DenoiserConfig::External(_) => DEFAULT_SCHEDULER,
            DenoiserConfig::Sd3(_) | DenoiserConfig::ZImage(_) => FLOW_SCHEDULER,
            DenoiserConfig::Flux(config) if config.guidance.is_some() => DEV_SCHEDULER,
            DenoiserConfig::Flux(_) => SCHNELL_SCHEDULER,
            DenoiserConfig::Dit(_) => LINEAR_SCHEDULER,
        };
        (folder.path.join("scheduler/scheduler_config.json"), text.to_owned())
    };
    let scheduler = match values.model.prediction() {
        PredictionName::Epsilon => Scheduler::parse(&path, &text)?.with_prediction("epsilon")?,
        PredictionName::V => Scheduler::parse(&path, &text)?.with_prediction("v_prediction")?,
        PredictionName::Flow => flow(&path, &text)?,
        PredictionName::Auto => Scheduler::parse(&path, &text)?,
    };
    Ok(match config {
        // As the pipeline asks its scheduler for levels.
        DenoiserConfig::Flux(_) | DenoiserConfig::ZImage(_) => scheduler.with_even_levels(),
        DenoiserConfig::UNet(_) | DenoiserConfig::Sd3(_) | DenoiserConfig::Dit(_) | DenoiserConfig::External(_) => {
            scheduler
        }
    })
}

/// A flow-matching scheduler, in place of one of another kind.
fn flow(path: &Path, text: &str) -> Result<Scheduler, Failure> {
    let scheduler = Scheduler::parse(path, text)?;
    if scheduler.prediction == models::denoiser::Prediction::Flow {
        return Ok(scheduler);
    }
    let timesteps = scheduler.schedule.len();
    let text = format!(
        r#"{{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": {timesteps}, "shift": 1.0}}"#
    );
    Ok(Scheduler::parse(path, &text)?)
}

/// The scheduler that the settings of a TorchScript file name, else Stable Diffusion's noise schedule or flow matching without a shift.
pub(super) fn of_torchscript(path: &Path, settings: &ImageSettings) -> Result<Scheduler, Failure> {
    let file = path.with_extension("json");
    let given = settings.scheduler.as_ref().map(|given| Value::Object(given.clone()).to_string());
    let text = given.as_deref().unwrap_or(DEFAULT_SCHEDULER);
    let name = match settings.prediction {
        torch::PredictionName::Epsilon => "epsilon",
        torch::PredictionName::V => "v_prediction",
        torch::PredictionName::Flow if given.is_none() => return flow(&file, text),
        torch::PredictionName::Flow => {
            let scheduler = Scheduler::parse(&file, text)?;
            if scheduler.kind == SchedulerKind::FlowMatch {
                return Ok(scheduler);
            }
            let text = format!("{}: `prediction` flow, but its `scheduler` is of another kind", file.display());
            return Err(Failure::failed(text));
        }
    };
    let said = settings.scheduler.as_ref().and_then(|given| given.get("prediction_type")).and_then(Value::as_str);
    if let Some(said) = said.filter(|said| *said != name) {
        let text =
            format!("{}: `prediction` {name}, but its `scheduler` has the prediction_type {said}", file.display());
        return Err(Failure::failed(text));
    }
    Ok(Scheduler::parse(&file, text)?.with_prediction(name)?)
}

/// The sampler that `sample.sampler` and `sample.eta` name.
pub(super) fn sampler(values: &Values, scheduler: &Scheduler) -> Result<Sampler, Failure> {
    let (name, eta) = (values.sample.sampler(), values.sample.eta());
    let most = if name == SamplerName::FlowSde { 10.0 } else { 1.0 };
    if !(0.0..=most).contains(&eta) {
        return Err(Failure::usage(format!("`sample.eta` takes a number from 0 to {most}, not {eta}")));
    }
    if name == SamplerName::FlowSde && scheduler.kind != SchedulerKind::FlowMatch {
        return Err(Failure::usage("`sample.sampler` flow-sde is for flow matching, which the scheduler here is not"));
    }
    Ok(match name {
        SamplerName::Ddpm => Sampler::Ddpm { variance: scheduler.variance()? },
        SamplerName::Euler => scheduler.euler()?,
        SamplerName::DpmSolver => Sampler::DpmSolverPlusPlus2M,
        SamplerName::Ddim => Sampler::Ddim { eta },
        SamplerName::FlowSde => Sampler::FlowSde { noise: eta },
    })
}

/// The sampling plan from noise to a picture.
pub(crate) fn plan(values: &Values, loaded: &Loaded) -> Result<SamplingPlan, Failure> {
    way(values, &sized(loaded, values)?)
}

/// The scheduler for the size of a model's images, on which its shift may depend.
fn sized(loaded: &Loaded, values: &Values) -> Result<Scheduler, Failure> {
    if !loaded.scheduler.depends_on_size() {
        return Ok(loaded.scheduler.clone());
    }
    let (shape, patch) = (loaded.shape(values)?, loaded.files.config.patch());
    Ok(loaded.scheduler.clone().for_tokens(shape.height / patch * (shape.width / patch)))
}

/// A sampling plan with log-densities: some of its decisions are drawn, and none clips its estimated image.
pub(crate) fn scored_plan(values: &Values, loaded: &Loaded, flag: &str) -> Result<SamplingPlan, Failure> {
    let plan = way(values, &sized(loaded, values)?.without_clipping())?;
    if !plan.sampling.is_stochastic() {
        let text = format!(
            "{flag} scores drawn latents: it needs `sample.eta` above 0 (ddim, flow-sde) or `sample.sampler` ddpm"
        );
        return Err(Failure::usage(text));
    }
    Ok(plan)
}

fn way(values: &Values, scheduler: &Scheduler) -> Result<SamplingPlan, Failure> {
    let steps = values.sample.steps();
    let most = scheduler.schedule.len();
    if steps == 0 || steps > most {
        return Err(Failure::usage(format!("`sample.steps` takes 1 to {most}, not {steps}")));
    }
    Ok(scheduler.plan(sampler(values, scheduler)?, steps)?)
}
