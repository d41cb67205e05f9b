//! `builtin:shapes`: a denoiser draws captions; see [`datasets::synthetic::shapes`].
use datasets::images::Pixels;
use datasets::synthetic::shapes::{EDGE, Oracle as Judge, Scene, ShapesProblem, Split};

use super::model::denoiser_files;
use super::{AnyOracle, EmbeddedImages, EmbeddedModel, EmbeddedProblem, ImageExample, ModelKind, Oracle};
use crate::settings::{Decay, Loss, Modality, OptimizerName, ReductionName, Scheme, Settings, Values};

pub(super) static PROBLEM: EmbeddedProblem = EmbeddedProblem {
    name: "builtin:shapes",
    modality: Modality::Diffusion,
    models: &[EmbeddedModel { name: "builtin:shapes", kind: ModelKind::Denoiser, files: denoiser_files!("shapes") }],
    texts: &[],
    images: &[
        EmbeddedImages {
            name: "builtin:shapes",
            usual_n: 4096,
            edge: EDGE,
            example: |seed, split, index| {
                let pair = ShapesProblem::new(seed).pair(split, index);
                ImageExample { caption: pair.caption, pictures: vec![pair.chosen.render(), pair.rejected.render()] }
            },
            watched_caption,
            fingerprint: |seed, n| format!("builtin:shapes {seed} {n} false"),
            wrong_pixels: Some(wrong_pixels),
        },
        EmbeddedImages {
            name: "builtin:shapes-demonstrations",
            usual_n: 4096,
            edge: EDGE,
            example: |seed, split, index| {
                let shown = ShapesProblem::new(seed).demonstration(split, index);
                ImageExample { caption: shown.caption, pictures: vec![shown.shown.render()] }
            },
            watched_caption,
            fingerprint: |seed, n| format!("builtin:shapes {seed} {n} true"),
            wrong_pixels: Some(wrong_pixels),
        },
    ],
    hybrid: None,
    prompt: |seed, split, index| ShapesProblem::new(seed).pair(split, index).caption,
    reference_run: include_str!("../../embedded/shapes/reference-run.jsonl"),
    oracle: AnyOracle::Pictures(Oracle {
        score: |caption, picture| Some(Judge::score(&Scene::from_caption(caption)?, picture)),
        compare: |caption, a, b| Some(Judge::compare(&Scene::from_caption(caption)?, a, b)),
        tie: Judge::TIE,
        details: &[("attributes right of 4", |caption, picture| {
            Some(Judge::read(picture).right(&Scene::from_caption(caption)?) as f64)
        })],
        unit: "captions",
    }),
    preset,
};

fn watched_caption(seed: u64, index: u64) -> String {
    ShapesProblem::new(seed).pair(Split::Validation, index).caption
}

fn wrong_pixels(caption: &str, picture: &Pixels) -> Option<Vec<bool>> {
    Judge::wrong_pixels(&Scene::from_caption(caption)?, picture)
}

/// Defaults by loss and scheme.
fn preset(values: &mut Values) {
    values.preset(run);
    let loss = values.objective.name();
    if values.diffusion.scheme() == Scheme::Trajectory {
        values.preset(run_on_trajectories);
    } else if loss == Loss::Dpo {
        // An SFT term on the better picture keeps a small model from lowering the likelihood of both sides.
        values.preset(|settings| settings.objective.sft_weight = 30.0);
    } else if matches!(loss, Loss::Ipo | Loss::Sppo) {
        // Squared losses have a target margin, which the learning rate of a logistic loss overshoots.
        values.preset(|settings| settings.optimizer.lr = 1e-5);
    }
}

/// The embedded run: about two minutes on two idle cores.
fn run(settings: &mut Settings) {
    settings.model.model = Some("builtin:shapes".to_owned());
    settings.data.data = "builtin:shapes".into();
    settings.data.limit = Some(3584);
    settings.objective.beta = 300.0;
    settings.optimizer.name = OptimizerName::Adamw;
    settings.optimizer.lr = 5e-4;
    settings.optimizer.warmup_steps = 10;
    settings.optimizer.schedule = Decay::Cosine;
    settings.optimizer.max_grad_norm = 1.0;
    settings.train.batch_size = 8;
    settings.train.micro_batch_size = 8;
    settings.train.eval_every = 64;
    settings.train.n_samples = 24;
}

/// The embedded run on trajectories sampled from the embedded denoiser.
fn run_on_trajectories(settings: &mut Settings) {
    settings.objective.beta = 0.1;
    settings.diffusion.reduction = ReductionName::Sum;
    settings.sample.steps = 10;
    settings.sample.eta = 1.0;
}
