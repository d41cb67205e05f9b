//! Pairs of an embedded hybrid problem.
use std::sync::Arc;

use datasets::images::Pixels;
use datasets::synthetic::Split;
use mdp::diffusion::Latent;
use models::Prompted;
use policies::BoxError;

use super::{HybridData, JudgedPair, PairData, PairSource, RefinedSide};
use crate::Failure;
use crate::embedded::{EmbeddedHybrid, find, listed, problems};
use crate::hybrid::Files;
use crate::settings::Values;

/// The pairs of an embedded problem, generated on demand.
struct EmbeddedPairs {
    hybrid: &'static EmbeddedHybrid,
    seed: u64,
    null_share: f64,
    split: Split,
    n: usize,
}

impl PairSource for EmbeddedPairs {
    fn len(&self) -> usize {
        self.n
    }

    fn judged(&self, index: usize) -> Result<JudgedPair, BoxError> {
        let pair = (self.hybrid.pair)(self.seed, self.null_share, self.split, index as u64);
        let sides =
            pair.refined.map(|text| RefinedSide { text, tokens: Vec::new(), is_null: pair.is_null, is_missing: false });
        Ok(JudgedPair { request: pair.request, sides, preference: 1.0 })
    }

    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError> {
        let pictures = (self.hybrid.pictures)(self.seed, self.null_share, self.split, index as u64);
        Ok(pictures.map(|picture| Arc::clone(picture.values())))
    }

    fn request(&self, index: usize) -> Result<String, BoxError> {
        Ok(self.judged(index)?.request)
    }
}

/// Opens the pairs of an embedded problem.
pub(super) fn open<'a>(
    name: &str,
    split: Split,
    (files, handoff): (&'a Files, &'a Prompted),
    values: &Values,
) -> Result<HybridData<'a>, Failure> {
    let Some((problem, hybrid)) = find(name).and_then(|problem| Some((problem, problem.hybrid.as_ref()?))) else {
        let known = listed(problems().filter(|problem| problem.hybrid.is_some()).map(|problem| problem.name));
        return Err(Failure::usage(format!("there is no embedded data `{name}` of hybrid pairs; there is {known}")));
    };
    let edge = hybrid.edge;
    if (files.shape.height, files.shape.width, files.shape.channels) != (edge, edge, Pixels::CHANNELS) {
        let text = format!("{name} has pictures of {edge} x {edge}, the generator makes {}", files.shape);
        return Err(Failure::failed(text));
    }
    let seed = values.run.seed();
    let n = values.data.limit().unwrap_or(hybrid.usual_n);
    let n_held_out = values.train.eval_examples();
    let null_share = values.sample.null_share();
    if !(0.0..=1.0).contains(&null_share) {
        return Err(Failure::usage(format!("`sample.null_share` takes a number from 0 to 1, not {null_share}")));
    }
    let part = |split, n| {
        let pairs: Arc<dyn PairSource> = Arc::new(EmbeddedPairs { hybrid, seed, null_share, split, n });
        PairData { rows: (0..pairs.len()).collect(), pairs, prompt_format: &files.prompt_format, handoff }
    };
    Ok(HybridData {
        train: part(split, n),
        held_out: (n_held_out > 0).then(|| part(Split::Validation, n_held_out)),
        fingerprint: format!("{name} {seed} {n} {null_share}"),
        completions: None,
        problem: Some(problem),
    })
}
