//! Embedded data by the kind of model it trains; all of it is a function of seed, split and index.
use std::ops::Range;

use datasets::PreferenceRecord;
use datasets::images::Pixels;
use datasets::synthetic::Split;

use super::{EmbeddedProblem, problems};

/// Records for a language model.
pub(crate) struct EmbeddedTexts {
    pub(crate) name: &'static str,
    /// The number of examples in a run; `data.limit` sets another.
    pub(crate) usual_n: usize,
    /// The first `n` records of a split, by seed.
    pub(crate) records: fn(u64, Split, u64) -> Box<dyn Iterator<Item = PreferenceRecord>>,
    /// The wrong spans of an answer to a prompt, in characters, where they are known.
    pub(crate) wrong_spans: Option<WrongSpans>,
}

/// A function from a prompt and an answer to spans of the answer; `None` where it is no prompt of its problem.
pub(crate) type WrongSpans = fn(&str, &str) -> Option<Vec<Range<usize>>>;

/// Pictures for a denoiser.
pub(crate) struct EmbeddedImages {
    pub(crate) name: &'static str,
    /// The number of examples in a run; `data.limit` sets another.
    pub(crate) usual_n: usize,
    /// Height and width of its pictures.
    pub(crate) edge: usize,
    pub(crate) example: fn(u64, Split, u64) -> ImageExample,
    /// A held-out caption for the samples that a run shows.
    pub(crate) watched_caption: fn(u64, u64) -> String,
    /// The cache-key part of `n` examples of a seed.
    pub(crate) fingerprint: fn(u64, usize) -> String,
    /// Which pixels of a picture for a caption are wrong, where that is known.
    pub(crate) wrong_pixels: Option<WrongPixels>,
}

/// A function from a caption and a picture to whether each pixel is wrong, row by row; `None` where it can't be said.
pub(crate) type WrongPixels = fn(&str, &Pixels) -> Option<Vec<bool>>;

/// A caption with one picture (a demonstration) or two (the better one first).
pub(crate) struct ImageExample {
    pub(crate) caption: String,
    pub(crate) pictures: Vec<Pixels>,
}

/// The refiner's prompt template and the judged pairs of both halves.
pub(crate) struct EmbeddedHybrid {
    /// The prompt template of the refiner.
    pub(crate) template: &'static str,
    /// The maximum number of tokens of request and refined prompt together.
    pub(crate) max_length: usize,
    /// Height and width of its pictures.
    pub(crate) edge: usize,
    /// The number of pairs in a run; `data.limit` sets another.
    pub(crate) usual_n: usize,
    /// The pair of an index in a split, by seed and share of pairs without a refiner.
    pub(crate) pair: fn(u64, f64, Split, u64) -> RefinedPair,
    /// The pair's pictures; a separate function, so that texts can be read without drawing them.
    pub(crate) pictures: fn(u64, f64, Split, u64) -> [Pixels; 2],
}

/// A request with two refined prompts, the better one first.
pub(crate) struct RefinedPair {
    pub(crate) request: String,
    pub(crate) refined: [String; 2],
    /// Whether both are the unrefined request.
    pub(crate) is_null: bool,
}

impl EmbeddedTexts {
    /// All embedded texts.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        problems().flat_map(|problem| problem.texts)
    }
}

impl EmbeddedImages {
    /// All embedded images, each with its problem.
    pub(crate) fn all() -> impl Iterator<Item = (&'static Self, &'static EmbeddedProblem)> {
        problems().flat_map(|problem| problem.images.iter().map(move |images| (images, problem)))
    }
}
