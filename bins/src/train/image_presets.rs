//! Defaults of runs on images.
use crate::values::Values;
use crate::{Failure, denoiser};

/// Defaults of known runs. Says whether this is the embedded one.
pub(super) fn presets(values: &mut Values) -> Result<bool, Failure> {
    let has_data =
        ["data.data", "data.latents", "diffusion.trajectories"].iter().any(|path| values.text(path).is_some());
    let embedded = values.text("model.model").is_none() && !has_data;
    if values.text("model.model").is_none() && has_data {
        return Err(Failure::usage("--data and --latents need --model (or give none, for the embedded problem)"));
    }
    // Later presets win over earlier ones.
    values.preset_all(&[
        ("objective.beta", denoiser::USUAL_BETA),
        ("optimizer.name", "adamw"),
        ("optimizer.lr", "1e-6"),
    ]);
    let sft = values.word("objective.name") == "sft";
    let d3po = values.word("objective.name") == "d3po";
    if d3po {
        values.preset("diffusion.scheme", "trajectory");
    }
    if embedded {
        values.preset_all(EMBEDDED);
        match (values.word("diffusion.scheme"), values.word("objective.name")) {
            ("trajectory", _) => values.preset_all(EMBEDDED_TRAJECTORIES),
            // Some of the better picture's own likelihood keeps a small model from making both sides unlikely.
            (_, "dpo") => values.preset_all(&[("objective.sft_weight", "30")]),
            // A square has a target, and the rate of a slope steps beyond it.
            (_, "ipo" | "sppo") => values.preset_all(&[("optimizer.lr", "1e-5")]),
            _ => {}
        }
    }
    if d3po {
        values.preset_all(&[("objective.beta", "0.1"), ("diffusion.reduction", "mean")]);
    }
    if sft {
        // What the field calls the loss of a denoiser: the mean squared error, whole.
        values.preset_all(&[("diffusion.half", "false")]);
    }
    let known: &[(&'static str, &str)] = match values.text("train.preset") {
        None => &[],
        Some("salesforce-sd15") => SALESFORCE,
        Some("diffusers-2500") => &[("objective.beta", "2500"), ("diffusion.half", "false")],
        Some("flow-grpo-100") => &[
            ("objective.beta", "100"),
            ("diffusion.half", "true"),
            ("diffusion.timesteps", "logit-normal"),
            ("model.prediction", "flow"),
        ],
        Some("paper") => PAPER,
        Some(other) => return Err(Failure::usage(format!("--preset {other} is for --mdp token"))),
    };
    if ["salesforce-sd15", "diffusers-2500"].iter().any(|name| values.text("train.preset") == Some(name)) {
        values.preset_all(PICTURES_OF_SCRIPTS);
    }
    values.preset_all(known);
    Ok(embedded)
}

/// The embedded run: about two minutes on two cores.
const EMBEDDED: &[(&str, &str)] = &[
    ("model.model", "builtin:shapes"),
    ("data.data", "builtin:shapes"),
    ("data.limit", "2048"),
    ("objective.beta", "300"),
    ("optimizer.name", "adamw"),
    ("optimizer.lr", "5e-4"),
    ("optimizer.warmup_steps", "10"),
    ("optimizer.schedule", "cosine"),
    ("optimizer.max_grad_norm", "1"),
    ("train.batch_size", "8"),
    ("train.micro_batch_size", "8"),
    ("train.eval_every", "64"),
    ("train.n_samples", "24"),
];

/// The embedded run on trajectories of the embedded denoiser's own.
const EMBEDDED_TRAJECTORIES: &[(&str, &str)] =
    &[("objective.beta", "0.1"), ("diffusion.reduction", "sum"), ("sample.steps", "10"), ("sample.eta", "1")];

/// Eq. 15's sum with its T outside; beta as strong as the released 5000 on 4 x 64 x 64 latents: 0.1526 over T.
const PAPER: &[(&str, &str)] = &[
    ("objective.beta", "1.526e-4"),
    ("diffusion.reduction", "sum"),
    ("diffusion.half", "false"),
    ("diffusion.horizon", "1000"),
    // Eq. 15 draws for each side by itself.
    ("diffusion.noise", "independent"),
];

/// Pictures as both published scripts see them: Pillow's `convert("RGB")`, torchvision's `Resize` (bilinear), `CenterCrop`
/// and `RandomHorizontalFlip`, each picture of a pair by itself.
const PICTURES_OF_SCRIPTS: &[(&str, &str)] = &[
    ("data.transparency", "drop"),
    ("data.exif", "false"),
    ("data.resize_filter", "bilinear"),
    ("data.resize_rounding", "torchvision"),
    ("data.flip", "true"),
    ("data.flip_sides", "apart"),
];

/// The released Diffusion-DPO code on Stable Diffusion 1.5.
const SALESFORCE: &[(&str, &str)] = &[
    ("objective.beta", "5000"),
    ("diffusion.half", "true"),
    ("diffusion.reduction", "mean"),
    ("diffusion.empty_share", "0.2"),
    ("optimizer.name", "adamw"),
    ("optimizer.lr", "2.05e-5"),
    ("optimizer.weight_decay", "0.01"),
    ("optimizer.warmup_steps", "500"),
    ("optimizer.max_grad_norm", "1"),
    ("train.batch_size", "2048"),
    ("train.max_steps", "2000"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws;

    fn preset_values(given: &[&str]) -> Values {
        let mut values = Values::defaults();
        values.merge_set("run.mdp=diffusion").unwrap();
        for set in given {
            values.merge_set(set).unwrap();
        }
        presets(&mut values).unwrap();
        values
    }

    #[test]
    fn the_nearest_default_counts() {
        let numbers =
            |values: &Values| (values.number("objective.beta").unwrap(), values.number("optimizer.lr").unwrap());
        let own = ["model.model=m", "data.data=d"];
        assert_eq!(numbers(&preset_values(&own)), (2000.0, 1e-6));
        assert_eq!(numbers(&preset_values(&[])), (300.0, 5e-4));
        assert_eq!(numbers(&preset_values(&["objective.name=d3po"])), (0.1, 5e-4));
        assert_eq!(numbers(&preset_values(&["objective.name=ipo"])), (300.0, 1e-5));
        assert_eq!(numbers(&preset_values(&["diffusion.scheme=trajectory", "objective.beta=3"])), (3.0, 5e-4));
        assert_eq!(numbers(&preset_values(&[own[0], own[1], "train.preset=salesforce-sd15"])), (5000.0, 2.05e-5));
    }

    #[test]
    fn presets_of_one_strength() {
        let size = 4 * 64 * 64;
        for name in ["salesforce-sd15", "diffusers-2500", "paper"] {
            let values = preset_values(&["model.model=m", "data.data=d", &format!("train.preset={name}")]);
            let units = draws::units(&values).unwrap();
            let coefficient = units.coefficient(values.number("objective.beta").unwrap(), size);
            assert!((coefficient - 0.1526).abs() < 1e-4, "{name}: {coefficient}");
        }
    }
}
