//! Preferences over refined prompts and pictures, from `data.data`, for both halves.
mod complete;
mod disk;
mod embedded;

use std::path::Path;
use std::sync::Arc;

use datasets::synthetic::Split;
use datasets::{Example, ExampleKind};
use mdp::chance::{Order, derived_seed};
use mdp::diffusion::Latent;
use models::Prompted;
use policies::BoxError;
use train::diffusion::{Finished, ImageExample, Images};
use train::token::Examples;

pub(crate) use self::complete::Completing;
use super::{Files, PromptFormat};
use crate::embedded::{EmbeddedProblem, is_embedded};
use crate::{Call, Failure};

/// A refined prompt.
struct RefinedSide {
    text: String,
    /// The sampled tokens, if known.
    tokens: Vec<u32>,
    /// Whether it is the unrefined request.
    is_null: bool,
    /// Whether the data names no refined prompt, so that the request stands in for it.
    is_missing: bool,
}

/// A request with two sides, the first preferred with a weight.
struct JudgedPair {
    request: String,
    sides: [RefinedSide; 2],
    preference: f64,
}

/// An indexed source of judged pairs.
trait PairSource: Send + Sync {
    fn len(&self) -> usize;
    fn judged(&self, index: usize) -> Result<JudgedPair, BoxError>;
    /// The latents of the two sides, in the order of the judgement.
    fn latents(&self, index: usize) -> Result<[Latent; 2], BoxError>;
    fn request(&self, index: usize) -> Result<String, BoxError>;
}

/// Judged pairs as examples of both halves.
pub(crate) struct PairData<'a> {
    pairs: Arc<dyn PairSource>,
    rows: Vec<usize>,
    prompt_format: &'a PromptFormat,
    handoff: &'a Prompted,
}

/// Training and held-out pairs of a hybrid run.
pub(crate) struct HybridData<'a> {
    pub(crate) train: PairData<'a>,
    pub(crate) held_out: Option<PairData<'a>>,
    pub(crate) fingerprint: String,
    /// The refined prompts that completed pairs, as lines of a file that the run keeps.
    pub(crate) completions: Option<String>,
    /// Its embedded problem, whose oracle can judge pictures.
    pub(crate) problem: Option<&'static EmbeddedProblem>,
}

impl PairData<'_> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Up to `n` distinct requests, chosen by the seed.
    pub(crate) fn requests(&self, n: usize, seed: u64) -> Result<Vec<String>, Failure> {
        let mut requests: Vec<String> = Vec::new();
        for place in Order::new(derived_seed(seed, "samples to look at", 0), 0, self.rows.len()).from(0) {
            let row = self.rows[place];
            if requests.len() >= n {
                break;
            }
            let request = self.pairs.request(row).map_err(|error| Failure::failed(error.to_string()))?;
            if !requests.contains(&request) {
                requests.push(request);
            }
        }
        Ok(requests)
    }

    /// The request of an example.
    pub(crate) fn request(&self, index: usize) -> Result<String, BoxError> {
        self.pairs.request(self.row(index)?)
    }

    fn row(&self, index: usize) -> Result<usize, BoxError> {
        Ok(*self.rows.get(index).ok_or_else(|| format!("there is no example {index}"))?)
    }

    fn judged(&self, index: usize) -> Result<JudgedPair, BoxError> {
        self.pairs.judged(self.row(index)?)
    }
}

impl Examples for PairData<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn example(&self, index: usize) -> Result<Example, BoxError> {
        let judged = self.judged(index)?;
        let prompt: Arc<[u32]> = self.prompt_format.prompt(&judged.request)?.into();
        let mut responses = Vec::with_capacity(2);
        for side in judged.sides {
            let response = if side.tokens.is_empty() { self.prompt_format.answer(&side.text)? } else { side.tokens };
            let (n, most) = (prompt.len() + response.len(), self.prompt_format.max_length);
            if n > most {
                let text =
                    format!("a request and its refined prompt have {n} tokens, more than `data.max_length` {most}");
                return Err(text.into());
            }
            responses.push(response.into());
        }
        let example = Example::new(index as u64, prompt, responses, ExampleKind::Pair);
        Ok(Example { preference: judged.preference, ..example })
    }

    /// Marks sides whose text is the unrefined request, which the refiner did not write.
    fn given(&self, index: usize) -> Result<Vec<bool>, BoxError> {
        Ok(self.judged(index)?.sides.iter().map(|side| side.is_null).collect())
    }
}

impl Images for PairData<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    /// Each side is conditioned on its own prompt, never on the other side's.
    fn example(&self, index: usize) -> Result<ImageExample, BoxError> {
        let judged = self.judged(index)?;
        let mut sides = Vec::with_capacity(2);
        for (side, latent) in judged.sides.into_iter().zip(self.pairs.latents(self.row(index)?)?) {
            let text = if side.tokens.is_empty() { side.text } else { self.handoff.text(&side.tokens)? };
            sides.push(Finished { latent, condition: self.handoff.condition(&text)? });
        }
        Ok(ImageExample { sides, preference: judged.preference })
    }
}

/// Opens the pairs of `data.data`; those without refined prompts can be completed.
pub(crate) fn open<'a>(
    files: &'a Files,
    handoff: &'a Prompted,
    call: &Call<'_>,
    completing: Option<Completing<'_>>,
) -> Result<HybridData<'a>, Failure> {
    open_any((files, handoff), Split::Train, call, completing)
}

/// The same, of another split of embedded data; the training pairs of the result are those of that split.
pub(crate) fn open_split<'a>(
    files: &'a Files,
    handoff: &'a Prompted,
    split: Split,
    call: &Call<'_>,
) -> Result<HybridData<'a>, Failure> {
    open_any((files, handoff), split, call, None)
}

fn open_any<'a>(
    models: (&'a Files, &'a Prompted),
    split: Split,
    call: &Call<'_>,
    completing: Option<Completing<'_>>,
) -> Result<HybridData<'a>, Failure> {
    let values = &call.values;
    if values.data.limit() == Some(0) {
        return Err(Failure::usage("`data.limit` takes at least 1"));
    }
    match values.data.data() {
        None => Err(Failure::usage("`data.data` is needed beside a named model: a folder or a file of judged pairs")),
        Some(name) if is_embedded(name) => embedded::open(name, split, models, values),
        Some(name) => disk::open(Path::new(name), models, call, completing),
    }
}
