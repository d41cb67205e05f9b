//! The data of the problem, by seed, split and index.

use std::path::Path;
use std::sync::Arc;

use crate::record::{Answers, Origin, PreferenceRecord};

use super::Split;
use super::facts::Facts;
use super::post;
use super::summary::{self, Damage, Wording};
use crate::synthetic::draw::Draw;

/// A post with a good and a bad summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TldrPair {
    /// The post, up to and with `TL;DR:`.
    pub prompt: String,
    /// The preferred summary, which begins with one space.
    pub chosen: String,
    /// The other summary.
    pub rejected: String,
    /// What is wrong with the bad summary: `rejected`, unless the pair is flipped.
    pub damage: Damage,
    /// Whether label noise has swapped the good and the bad summary.
    pub flipped: bool,
    /// What the post says.
    pub facts: Facts,
}

/// A post with one summary, good or bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The post, up to and with `TL;DR:`.
    pub prompt: String,
    /// The summary, which begins with one space.
    pub response: String,
    /// What is wrong with the summary, if anything.
    pub damage: Option<Damage>,
    /// What the post says.
    pub facts: Facts,
}

impl TldrPair {
    /// The pair as a record that was read at `origin`.
    pub fn into_record(self, origin: Origin) -> PreferenceRecord {
        let answers = Answers::Pair { chosen: self.chosen.as_str().into(), rejected: self.rejected.as_str().into() };
        PreferenceRecord::new(origin, self.prompt.as_str().into(), answers)
    }
}

impl Demonstration {
    /// The demonstration as a record that was read at `origin`.
    pub fn into_record(self, origin: Origin) -> PreferenceRecord {
        let answers = Answers::Demonstration(self.response.as_str().into());
        PreferenceRecord::new(origin, self.prompt.as_str().into(), answers)
    }
}

/// The problem of one seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    seed: u64,
    good_share: f64,
    label_noise: f64,
}

impl Problem {
    /// The share of good summaries among the demonstrations, unless told otherwise.
    ///
    /// Three in five are bad on purpose: a model that imitates them writes both kinds, which is what preferences can
    /// then tell apart.
    pub const GOOD_SHARE: f64 = 0.4;

    /// The problem of a seed, with [`Self::GOOD_SHARE`] and no label noise.
    pub fn new(seed: u64) -> Self {
        Self { seed, good_share: Self::GOOD_SHARE, label_noise: 0.0 }
    }

    /// The same posts with another share of good demonstrations, 0 to 1.
    #[must_use]
    pub fn with_good_share(self, good_share: f64) -> Self {
        Self { good_share, ..self }
    }

    /// The same pairs with this share of them the wrong way round, 0 to 1.
    #[must_use]
    pub fn with_label_noise(self, label_noise: f64) -> Self {
        Self { label_noise, ..self }
    }

    /// The pair number `index` of a split.
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

    /// The demonstration number `index` of a split; its post is not that of the pair of the same number.
    pub fn demonstration(&self, split: Split, index: u64) -> Demonstration {
        let (facts, prompt, mut draw) = self.post("demonstration", split, index);
        let wording = Wording::draw(facts.event, &mut draw);
        let (response, damage) = if draw.chance(self.good_share) {
            (summary::good(&facts, wording), None)
        } else {
            let (response, damage) = summary::bad(&facts, wording, &mut draw);
            (response, Some(damage))
        };
        Demonstration { prompt, response, damage, facts }
    }

    /// The first `count` pairs of a split as records; each one's line is its index plus one.
    pub fn pair_records(self, split: Split, count: u64) -> impl Iterator<Item = PreferenceRecord> {
        let file = source(split);
        (0..count).map(move |index| self.pair(split, index).into_record(Origin::line(&file, index + 1)))
    }

    /// The first `count` demonstrations of a split as records; each one's line is its index plus one.
    pub fn demonstration_records(self, split: Split, count: u64) -> impl Iterator<Item = PreferenceRecord> {
        let file = source(split);
        (0..count).map(move |index| self.demonstration(split, index).into_record(Origin::line(&file, index + 1)))
    }

    /// Draws posts until one belongs to the split.
    fn post(&self, purpose: &str, split: Split, index: u64) -> (Facts, String, Draw) {
        let mut draw = Draw::new("hybrid-dpo builtin:tldr", purpose, &[self.seed, split as u64, index]);
        loop {
            let facts = Facts::draw(&mut draw);
            let prompt = post::render(&facts, &mut draw);
            if Split::of(&prompt) == split {
                return (facts, prompt, draw);
            }
        }
    }
}

/// The name that records of a split give as their file.
fn source(split: Split) -> Arc<Path> {
    Path::new(&format!("builtin:tldr/{}", split.name())).into()
}
