//! `builtin:chimera`: a refiner rewrites requests and a generator draws them; see [`datasets::synthetic::chimera`].
use datasets::synthetic::chimera::{ChimeraProblem, EDGE, Oracle as Judge, Split, Wanted};

use super::model::{denoiser_files, language_model_files};
use super::{
    AnyOracle, EmbeddedHybrid, EmbeddedImages, EmbeddedModel, EmbeddedProblem, EmbeddedTexts, ImageExample, ModelKind,
    Oracle, RefinedPair,
};
use crate::settings::{Decay, Modality, Settings};

/// The refiner's prompt template.
const TEMPLATE: &str = "request: {request}\\nprompt:";

/// Tokens of a request and its refined prompt.
const MAX_LENGTH: usize = 96;

/// The number of pairs in a run.
const N_PAIRS: usize = 2048;

pub(super) static PROBLEM: EmbeddedProblem = EmbeddedProblem {
    name: "builtin:chimera",
    modality: Modality::Hybrid,
    models: &[
        EmbeddedModel {
            name: "builtin:chimera-refiner",
            kind: ModelKind::Language,
            files: language_model_files!("chimera/refiner"),
        },
        EmbeddedModel {
            name: "builtin:chimera-generator",
            kind: ModelKind::Denoiser,
            files: denoiser_files!("chimera/generator"),
        },
    ],
    texts: &[EmbeddedTexts {
        name: "builtin:chimera-refiner-demonstrations",
        usual_n: 12_000,
        records: |seed, split, n| Box::new(ChimeraProblem::new(seed).refinement_records(split, n)),
        wrong_spans: None,
    }],
    images: &[EmbeddedImages {
        name: "builtin:chimera-generator-demonstrations",
        usual_n: 4096,
        edge: EDGE,
        example: |seed, split, index| {
            let shown = ChimeraProblem::new(seed).demonstration(split, index);
            ImageExample { caption: shown.caption, pictures: vec![shown.shown.render()] }
        },
        watched_caption: |seed, index| ChimeraProblem::new(seed).demonstration(Split::Validation, index).caption,
        fingerprint: |seed, n| format!("builtin:chimera-generator {seed} {n}"),
        wrong_pixels: None,
    }],
    hybrid: Some(EmbeddedHybrid {
        template: TEMPLATE,
        max_length: MAX_LENGTH,
        usual_n: N_PAIRS,
        edge: EDGE,
        pair: |seed, null_share, split, index| {
            let pair = ChimeraProblem::new(seed).with_null_share(null_share).pair(split, index);
            let refined = [pair.chosen.refined, pair.rejected.refined];
            RefinedPair { request: pair.request, refined, is_null: pair.is_null }
        },
        pictures: |seed, null_share, split, index| {
            let pair = ChimeraProblem::new(seed).with_null_share(null_share).pair(split, index);
            [pair.chosen.scene.render(), pair.rejected.scene.render()]
        },
    }),
    prompt: |seed, split, index| ChimeraProblem::new(seed).pair(split, index).request,
    reference_run: include_str!("../../embedded/chimera/reference-run.jsonl"),
    oracle: AnyOracle::Pictures(Oracle {
        score: |request, picture| Some(Judge::score(&Wanted::from_request(request)?, picture)),
        compare: |request, a, b| Some(Judge::compare(&Wanted::from_request(request)?, a, b)),
        tie: Judge::TIE,
        details: &[],
        unit: "requests",
    }),
    preset: |values| values.preset(run),
};

/// The embedded run, compared with runs of each half alone.
fn run(settings: &mut Settings) {
    settings.hybrid.refiner = Some("builtin:chimera-refiner".to_owned());
    settings.hybrid.generator = Some("builtin:chimera-generator".to_owned());
    TEMPLATE.clone_into(&mut settings.hybrid.template);
    settings.hybrid.compare = true;
    settings.data.data = "builtin:chimera".into();
    settings.data.limit = Some(N_PAIRS);
    settings.data.max_length = MAX_LENGTH;
    settings.objective.beta = 0.3;
    settings.objective.gamma = 100.0;
    settings.objective.sft_weight = 0.1;
    settings.optimizer.lr = 1e-4;
    settings.hybrid.refiner_lr = Some(1e-3);
    settings.optimizer.warmup_steps = 10;
    settings.optimizer.schedule = Decay::Cosine;
    settings.optimizer.max_grad_norm = 1.0;
    settings.train.batch_size = 8;
    settings.train.micro_batch_size = 8;
    settings.train.eval_every = 128;
    settings.train.n_samples = 24;
}
