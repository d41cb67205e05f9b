//! Defaults of runs on images.
use crate::embedded::usual;
use crate::settings::{
    FlipSides, Loss, Modality, NoiseName, OptimizerName, PredictionName, Preset, ReductionName, ResizeFilter,
    ResizeRounding, Scheme, Settings, TimestepsName, TransparencyName, Values,
};
use crate::{Failure, denoiser};

/// Defaults of known runs.
pub(super) fn presets(values: &mut Values) -> Result<(), Failure> {
    let sources = [values.data.data(), values.data.latents(), values.diffusion.trajectories()];
    let has_data = sources.iter().any(Option::is_some);
    let is_embedded = values.model.model().is_none() && !has_data;
    if values.model.model().is_none() && has_data {
        return Err(Failure::usage(
            "`data.data` and `data.latents` need `model.model` (or give none, for the embedded problem)",
        ));
    }
    // Later presets win over earlier ones.
    denoiser::general_presets(values);
    let sft = values.objective.name() == Loss::Sft;
    let d3po = values.objective.name() == Loss::D3po;
    if d3po {
        values.preset(|settings| settings.diffusion.scheme = Scheme::Trajectory);
    }
    if is_embedded {
        (usual(Modality::Diffusion).preset)(values);
    }
    if d3po {
        values.preset(|settings| {
            settings.objective.beta = 0.1;
            settings.diffusion.reduction = ReductionName::Mean;
        });
    }
    if values.objective.name() == Loss::Linear {
        // The released code's units: mean squared errors, and half of its beta of 500.
        values.preset(|settings| {
            settings.diffusion.half = false;
            settings.objective.beta = 250.0;
        });
    }
    if sft {
        // The usual denoiser loss: the mean squared error without the factor 1/2.
        values.preset(|settings| settings.diffusion.half = false);
    }
    of_name(values)
}

/// Defaults of the named preset.
fn of_name(values: &mut Values) -> Result<(), Failure> {
    match values.train.preset() {
        None => {}
        Some(Preset::SalesforceSd15) => {
            values.preset(pictures_of_scripts);
            values.preset(salesforce);
        }
        Some(Preset::Diffusers2500) => {
            values.preset(pictures_of_scripts);
            values.preset(|settings| {
                settings.objective.beta = 2500.0;
                settings.diffusion.half = false;
            });
        }
        Some(Preset::FlowGrpo100) => values.preset(flow_grpo),
        Some(Preset::VerlOmniSd35) => {
            values.preset(flow_grpo);
            values.preset(|settings| with_adapters(settings, 32, 2e-4));
        }
        Some(Preset::FlowFactoryFlux) => {
            values.preset(flow_grpo);
            values.preset(|settings| {
                with_adapters(settings, 64, 1e-6);
                settings.objective.beta = 2000.0;
            });
        }
        Some(Preset::Paper) => values.preset(paper),
        Some(other @ (Preset::Tldr | Preset::Trl)) => {
            return Err(Failure::usage(format!("`train.preset` {other} is for `run.mdp` token")));
        }
    }
    Ok(())
}

/// The units of Flow-GRPO's online DPO.
fn flow_grpo(settings: &mut Settings) {
    settings.objective.beta = 100.0;
    settings.diffusion.half = true;
    settings.diffusion.timesteps = TimestepsName::LogitNormal;
    settings.model.prediction = PredictionName::Flow;
}

/// Adapters whose alpha is twice their rank, with the optimiser of both flow-matching recipes.
fn with_adapters(settings: &mut Settings, rank: usize, rate: f64) {
    settings.model.lora_rank = Some(rank);
    settings.model.lora_alpha = 2.0 * rank as f64;
    settings.optimizer.name = OptimizerName::Adamw;
    settings.optimizer.lr = rate;
    settings.optimizer.weight_decay = 1e-4;
    settings.optimizer.max_grad_norm = 1.0;
}

/// Eq. 15's sum with its T outside; beta matches the released 5000 on 4 x 64 x 64 latents: 0.1526 over T.
fn paper(settings: &mut Settings) {
    settings.objective.beta = 1.526e-4;
    settings.diffusion.reduction = ReductionName::Sum;
    settings.diffusion.half = false;
    settings.diffusion.horizon = 1000.0;
    // Eq. 15 draws noise for each side independently.
    settings.diffusion.noise = NoiseName::Independent;
}

/// The preprocessing of both published scripts: Pillow's `convert("RGB")`, torchvision's `Resize` (bilinear),
/// `CenterCrop` and `RandomHorizontalFlip`, independently for each picture of a pair.
fn pictures_of_scripts(settings: &mut Settings) {
    settings.data.transparency = TransparencyName::Drop;
    settings.data.exif = false;
    settings.data.resize_filter = ResizeFilter::Bilinear;
    settings.data.resize_rounding = ResizeRounding::Torchvision;
    settings.data.flip = true;
    settings.data.flip_sides = FlipSides::Apart;
}

/// The released Diffusion-DPO code on Stable Diffusion 1.5.
fn salesforce(settings: &mut Settings) {
    settings.objective.beta = 5000.0;
    settings.diffusion.half = true;
    settings.diffusion.reduction = ReductionName::Mean;
    settings.diffusion.empty_share = 0.2;
    settings.optimizer.name = OptimizerName::Adamw;
    settings.optimizer.lr = 2.05e-5;
    settings.optimizer.weight_decay = 0.01;
    settings.optimizer.warmup_steps = 500;
    settings.optimizer.max_grad_norm = 1.0;
    settings.train.batch_size = 2048;
    settings.train.max_steps = Some(2000);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws;

    fn preset_values(given: &[&str]) -> Values {
        let mut values = Values::default();
        values.merge_set("run.mdp=diffusion").unwrap();
        for set in given {
            values.merge_set(set).unwrap();
        }
        presets(&mut values).unwrap();
        values
    }

    #[test]
    fn the_nearest_default_counts() {
        let numbers = |values: &Values| (values.objective.beta(), values.optimizer.lr());
        let own = ["model.model=m", "data.data=d"];
        assert_eq!(numbers(&preset_values(&own)), (2000.0, 1e-6));
        assert_eq!(numbers(&preset_values(&[])), (300.0, 5e-4));
        assert_eq!(numbers(&preset_values(&["objective.name=d3po"])), (0.1, 5e-4));
        assert_eq!(numbers(&preset_values(&["objective.name=ipo"])), (300.0, 1e-5));
        assert_eq!(numbers(&preset_values(&["diffusion.scheme=trajectory", "objective.beta=3"])), (3.0, 5e-4));
        assert_eq!(numbers(&preset_values(&[own[0], own[1], "train.preset=salesforce-sd15"])), (5000.0, 2.05e-5));
    }

    #[test]
    fn presets_of_flow_matching_have_adapters() {
        for (name, numbers, coefficient) in [
            ("verl-omni-sd35", (Some(32), 64.0, 2e-4), 100.0 * 0.5 / 65_536.0),
            ("flow-factory-flux", (Some(64), 128.0, 1e-6), 2000.0 * 0.5 / 65_536.0),
        ] {
            let values = preset_values(&["model.model=m", "data.data=d", &format!("train.preset={name}")]);
            let found = (values.model.lora_rank(), values.model.lora_alpha(), values.optimizer.lr());
            assert_eq!(found, numbers, "{name}");
            let units = draws::units(&values).unwrap();
            let found = units.coefficient(values.objective.beta(), 16 * 64 * 64);
            assert!((found - coefficient).abs() < 1e-12, "{name}: {found}");
        }
    }

    #[test]
    fn presets_of_one_strength() {
        let size = 4 * 64 * 64;
        for name in ["salesforce-sd15", "diffusers-2500", "paper"] {
            let values = preset_values(&["model.model=m", "data.data=d", &format!("train.preset={name}")]);
            let units = draws::units(&values).unwrap();
            let coefficient = units.coefficient(values.objective.beta(), size);
            assert!((coefficient - 0.1526).abs() < 1e-4, "{name}: {coefficient}");
        }
    }
}
