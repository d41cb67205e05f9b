//! The problem's data by seed, split and index.

use std::path::Path;
use std::sync::Arc;

use crate::record::{Answers, Origin, PreferenceRecord};

use super::Split;
use super::facts::Facts;
use super::post;
use super::summary::{self, Damage, Wording};
use crate::synthetic::draw::RandomDraws;

/// A post with a good and a bad summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TldrPair {
    /// The post, through `TL;DR:`.
    pub prompt: String,
    /// The preferred summary, with a leading space.
    pub chosen: String,
    /// The rejected summary.
    pub rejected: String,
    /// The fault of the bad summary: `rejected`, unless the pair is flipped.
    pub damage: Damage,
    /// Whether label noise swapped the good and the bad summary.
    pub flipped: bool,
    /// The facts of the post.
    pub facts: Facts,
}

/// A post with one summary, good or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TldrDemonstration {
    /// The post, through `TL;DR:`.
    pub prompt: String,
    /// The summary, with a leading space.
    pub response: String,
    /// The fault of the summary, if it is bad.
    pub damage: Option<Damage>,
    /// The facts of the post.
    pub facts: Facts,
}

impl TldrPair {
    /// Converts the pair to a record at `origin`.
    pub fn into_record(self, origin: Origin) -> PreferenceRecord {
        let answers = Answers::Pair { chosen: self.chosen.as_str().into(), rejected: self.rejected.as_str().into() };
        PreferenceRecord::new(origin, self.prompt.as_str().into(), answers)
    }
}

impl TldrDemonstration {
    /// Converts the demonstration to a record at `origin`.
    pub fn into_record(self, origin: Origin) -> PreferenceRecord {
        let answers = Answers::Demonstration(self.response.as_str().into());
        PreferenceRecord::new(origin, self.prompt.as_str().into(), answers)
    }
}

/// The problem with a given seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TldrProblem {
    seed: u64,
    label_noise: f64,
}

impl TldrProblem {
    /// The share of good summaries among the demonstrations.
    ///
    /// Three in five are bad on purpose: a model that imitates them writes both kinds, which preferences can then
    /// separate.
    pub const GOOD_SHARE: f64 = 0.4;

    /// Creates the problem of a seed, without label noise.
    pub fn new(seed: u64) -> Self {
        Self { seed, label_noise: 0.0 }
    }

    /// Sets the share of flipped pairs, 0 to 1.
    #[must_use]
    pub fn with_label_noise(self, label_noise: f64) -> Self {
        Self { label_noise, ..self }
    }

    /// Pair `index` of a split.
    pub fn pair(&self, split: Split, index: u64) -> TldrPair {
        let (facts, prompt, mut draw) = self.post("pair", split, index);
        let wording = Wording::draw(facts.event, &mut draw);
        let mut chosen = summary::good(&facts, wording);
        let (mut rejected, damage) = summary::bad(&facts, wording, &mut draw);
        let flipped = draw.chance(self.label_noise);
        if flipped {
            std::mem::swap(&mut chosen, &mut rejected);
        }
        TldrPair { prompt, chosen, rejected, damage, flipped, facts }
    }

    /// Demonstration `index` of a split; its post differs from that of the pair with the same index.
    pub fn demonstration(&self, split: Split, index: u64) -> TldrDemonstration {
        let (facts, prompt, mut draw) = self.post("demonstration", split, index);
        let wording = Wording::draw(facts.event, &mut draw);
        let (response, damage) = if draw.chance(Self::GOOD_SHARE) {
            (summary::good(&facts, wording), None)
        } else {
            let (response, damage) = summary::bad(&facts, wording, &mut draw);
            (response, Some(damage))
        };
        TldrDemonstration { prompt, response, damage, facts }
    }

    /// The first `count` pairs of a split as records; a record's line is its index plus one.
    pub fn pair_records(self, split: Split, count: u64) -> impl Iterator<Item = PreferenceRecord> {
        let file = source(split);
        (0..count).map(move |index| self.pair(split, index).into_record(Origin::line(&file, index + 1)))
    }

    /// The first `count` demonstrations of a split as records; a record's line is its index plus one.
    pub fn demonstration_records(self, split: Split, count: u64) -> impl Iterator<Item = PreferenceRecord> {
        let file = source(split);
        (0..count).map(move |index| self.demonstration(split, index).into_record(Origin::line(&file, index + 1)))
    }

    /// Draws posts until one belongs to the split.
    fn post(&self, purpose: &str, split: Split, index: u64) -> (Facts, String, RandomDraws) {
        let mut draw = RandomDraws::new("hybrid-dpo builtin:tldr", purpose, &[self.seed, split as u64, index]);
        loop {
            let facts = Facts::draw(&mut draw);
            let prompt = post::render(&facts, &mut draw);
            if Split::of(&prompt) == split {
                return (facts, prompt, draw);
            }
        }
    }
}

/// The file name of a split's records.
fn source(split: Split) -> Arc<Path> {
    Path::new(&format!("builtin:tldr/{}", split.name())).into()
}
