//! `builtin:tldr`: a language model summarises posts; see [`datasets::synthetic::tldr`].
use std::ops::Range;

use datasets::synthetic::tldr::{Facts, Oracle as Judge, SummaryScore, TldrProblem};

use super::model::language_model_files;
use super::{AnyOracle, EmbeddedModel, EmbeddedProblem, EmbeddedTexts, ModelKind, Oracle};
use crate::settings::{Modality, Settings};

pub(super) static PROBLEM: EmbeddedProblem = EmbeddedProblem {
    name: "builtin:tldr",
    modality: Modality::Token,
    models: &[EmbeddedModel { name: "builtin:tldr", kind: ModelKind::Language, files: language_model_files!("tldr") }],
    texts: &[
        EmbeddedTexts {
            name: "builtin:tldr",
            usual_n: 12_000,
            records: |seed, split, n| Box::new(TldrProblem::new(seed).pair_records(split, n)),
            wrong_spans: Some(wrong_spans),
        },
        EmbeddedTexts {
            name: "builtin:tldr-demonstrations",
            usual_n: 12_000,
            records: |seed, split, n| Box::new(TldrProblem::new(seed).demonstration_records(split, n)),
            wrong_spans: Some(wrong_spans),
        },
    ],
    images: &[],
    hybrid: None,
    prompt: |seed, split, index| TldrProblem::new(seed).pair(split, index).prompt,
    reference_run: include_str!("../../embedded/tldr/reference-run.jsonl"),
    oracle: AnyOracle::Texts(Oracle {
        score: |post, summary| judged(post, summary).map(|judged| judged.score),
        compare: |post, a, b| Some(Judge::compare(&Facts::from_prompt(post)?, a, b)),
        tie: 0.0,
        details: &[
            ("facts right in a sample", |post, summary| judged(post, summary).map(|judged| judged.right as f64)),
            ("facts wrong in a sample", |post, summary| judged(post, summary).map(|judged| judged.wrong as f64)),
        ],
        unit: "posts",
    }),
    preset: |values| values.preset(run),
};

/// Scores a summary of a post.
fn judged(post: &str, summary: &str) -> Option<SummaryScore> {
    Some(Judge::score(&Facts::from_prompt(post)?, summary))
}

/// The wrong facts of a summary of a post.
fn wrong_spans(post: &str, summary: &str) -> Option<Vec<Range<usize>>> {
    Some(Judge::wrong_spans(&Facts::from_prompt(post)?, summary))
}

/// The embedded run: about a minute on two cores.
fn run(settings: &mut Settings) {
    settings.model.model = Some("builtin:tldr".to_owned());
    settings.data.data = "builtin:tldr".into();
    settings.data.limit = Some(8192);
    settings.data.max_length = 256;
    settings.data.max_prompt_length = 192;
    settings.objective.beta = 0.3;
    settings.optimizer.lr = 3e-5;
    settings.optimizer.warmup_steps = 10;
    settings.train.batch_size = 32;
    settings.train.micro_batch_size = 16;
    settings.train.eval_every = 64;
}
