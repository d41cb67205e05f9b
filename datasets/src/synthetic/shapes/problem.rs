//! The problem's data by seed, split and index.

use super::Split;
use super::captions::Phrasing;
use super::scene::{Attribute, Scene};
use crate::images::{CaptionedImage, ImagePair};
use crate::synthetic::draw::RandomDraws;

/// A caption with an image that matches it and one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapesPair {
    /// The caption, in any phrasing.
    pub caption: String,
    /// The preferred image, which matches the caption.
    pub chosen: Scene,
    /// The rejected image, on the same background.
    pub rejected: Scene,
    /// The one to three attributes in which the two differ.
    pub differing: Vec<Attribute>,
}

/// A caption with one image, which does not always match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapesDemonstration {
    /// The caption, in any phrasing.
    pub caption: String,
    /// The attributes of the image.
    pub shown: Scene,
    /// The attributes that the caption has wrong.
    pub wrong: Vec<Attribute>,
}

impl ShapesPair {
    /// Renders the pair.
    pub fn render(&self, index: usize) -> ImagePair {
        let (chosen, rejected) = (self.chosen.render(), self.rejected.render());
        ImagePair { index, caption: self.caption.clone(), chosen, rejected }
    }
}

impl ShapesDemonstration {
    /// Renders the demonstration.
    pub fn render(&self, index: usize) -> CaptionedImage {
        CaptionedImage { index, caption: self.caption.clone(), image: self.shown.render() }
    }
}

/// The problem with a given seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShapesProblem {
    seed: u64,
    error_rate: f64,
}

impl ShapesProblem {
    /// Default probability that a demonstration's caption is wrong about each of shape, colour and position; it is
    /// wrong about the size half as often.
    ///
    /// Three captions in ten are entirely right.
    pub const ERROR_RATE: f64 = 0.3;

    /// Creates the problem of a seed, with [`Self::ERROR_RATE`].
    pub fn new(seed: u64) -> Self {
        Self { seed, error_rate: Self::ERROR_RATE }
    }

    /// Sets the error rate of demonstrations, 0 to 1.
    #[must_use]
    pub fn with_error_rate(self, error_rate: f64) -> Self {
        Self { error_rate, ..self }
    }

    /// Pair `index` of a split.
    pub fn pair(&self, split: Split, index: u64) -> ShapesPair {
        let (chosen, caption, mut draw) = self.scene("pair", split, index);
        loop {
            let count = 1 + draw.below(3);
            let attributes = draw.sample(&Attribute::ALL, count);
            let rejected = chosen.altered(&attributes, &mut draw);
            if may_show(split, rejected) {
                return ShapesPair { caption, chosen, rejected, differing: chosen.differing(&rejected) };
            }
        }
    }

    /// Demonstration `index` of a split.
    pub fn demonstration(&self, split: Split, index: u64) -> ShapesDemonstration {
        let (said, caption, mut draw) = self.scene("demonstration", split, index);
        loop {
            let is_wrong = |attribute: &Attribute| {
                let share = if *attribute == Attribute::Size { 0.5 } else { 1.0 };
                draw.chance(share * self.error_rate)
            };
            let attributes: Vec<Attribute> = Attribute::ALL.into_iter().filter(is_wrong).collect();
            let shown = said.altered(&attributes, &mut draw);
            if may_show(split, shown) {
                return ShapesDemonstration { caption, shown, wrong: attributes };
            }
        }
    }

    /// The first `count` pairs of a split, rendered.
    pub fn pairs(self, split: Split, count: usize) -> impl Iterator<Item = ImagePair> {
        (0..count).map(move |index| self.pair(split, index as u64).render(index))
    }

    /// The first `count` demonstrations of a split, rendered.
    pub fn demonstrations(self, split: Split, count: usize) -> impl Iterator<Item = CaptionedImage> {
        (0..count).map(move |index| self.demonstration(split, index as u64).render(index))
    }

    /// A scene of the split, its caption, and the stream for further draws.
    fn scene(&self, purpose: &str, split: Split, index: u64) -> (Scene, String, RandomDraws) {
        let mut draw = RandomDraws::new("hybrid-dpo builtin:shapes", purpose, &[self.seed, split as u64, index]);
        let scene = Scene::draw(split, &mut draw);
        let caption = scene.caption_as(draw.choose(&Phrasing::ALL));
        (scene, caption, draw)
    }
}

/// Whether an image that does not match its caption is allowed in the split: training contains no held-out scene.
fn may_show(split: Split, scene: Scene) -> bool {
    split != Split::Train || scene.split() == Split::Train
}
