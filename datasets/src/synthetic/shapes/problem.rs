//! The data of the problem, by seed, split and index.

use super::Split;
use super::captions::Phrasing;
use super::scene::{Attribute, Scene};
use crate::images::{CaptionedImage, ImagePair};
use crate::synthetic::draw::Draw;

/// A caption with a picture that agrees with it and one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapesPair {
    /// What was asked for, in any of the phrasings.
    pub caption: String,
    /// The preferred picture, which shows what the caption says.
    pub chosen: Scene,
    /// The other picture, on the same background.
    pub rejected: Scene,
    /// The one to three attributes in which the two differ.
    pub differing: Vec<Attribute>,
}

/// A caption with one picture, which shows something else now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// What the caption says, in any of the phrasings.
    pub caption: String,
    /// What the picture shows.
    pub shown: Scene,
    /// The attributes in which the caption is wrong.
    pub wrong: Vec<Attribute>,
}

impl ShapesPair {
    /// The pair with its pictures drawn.
    pub fn render(&self, index: usize) -> ImagePair {
        let (chosen, rejected) = (self.chosen.render(), self.rejected.render());
        ImagePair { index, caption: self.caption.clone(), chosen, rejected }
    }
}

impl Demonstration {
    /// The demonstration with its picture drawn.
    pub fn render(&self, index: usize) -> CaptionedImage {
        CaptionedImage { index, caption: self.caption.clone(), image: self.shown.render() }
    }
}

/// The problem of one seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    seed: u64,
    error_rate: f64,
}

impl Problem {
    /// How often a demonstration's caption is wrong about each of shape, colour and position, unless told otherwise; it
    /// is wrong about the size half as often.
    ///
    /// Three captions in ten are right about everything.
    pub const ERROR_RATE: f64 = 0.3;

    /// The problem of a seed, with [`Self::ERROR_RATE`].
    pub fn new(seed: u64) -> Self {
        Self { seed, error_rate: Self::ERROR_RATE }
    }

    /// The same problem with another rate of errors in demonstrations, 0 to 1.
    #[must_use]
    pub fn with_error_rate(self, error_rate: f64) -> Self {
        Self { error_rate, ..self }
    }

    /// The pair number `index` of a split.
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

    /// The demonstration number `index` of a split.
    pub fn demonstration(&self, split: Split, index: u64) -> Demonstration {
        let (said, caption, mut draw) = self.scene("demonstration", split, index);
        loop {
            let is_wrong = |attribute: &Attribute| {
                let share = if *attribute == Attribute::Size { 0.5 } else { 1.0 };
                draw.chance(share * self.error_rate)
            };
            let attributes: Vec<Attribute> = Attribute::ALL.into_iter().filter(is_wrong).collect();
            let shown = said.altered(&attributes, &mut draw);
            if may_show(split, shown) {
                return Demonstration { caption, shown, wrong: attributes };
            }
        }
    }

    /// The first `count` pairs of a split, drawn.
    pub fn pairs(self, split: Split, count: usize) -> impl Iterator<Item = ImagePair> {
        (0..count).map(move |index| self.pair(split, index as u64).render(index))
    }

    /// The first `count` demonstrations of a split, drawn.
    pub fn demonstrations(self, split: Split, count: usize) -> impl Iterator<Item = CaptionedImage> {
        (0..count).map(move |index| self.demonstration(split, index as u64).render(index))
    }

    /// A scene of the split, its caption, and the draws that follow.
    fn scene(&self, purpose: &str, split: Split, index: u64) -> (Scene, String, Draw) {
        let mut draw = Draw::new("hybrid-dpo builtin:shapes", purpose, &[self.seed, split as u64, index]);
        let scene = Scene::draw(split, &mut draw);
        let caption = scene.caption_as(draw.choose(&Phrasing::ALL));
        (scene, caption, draw)
    }
}

/// Whether a split may show a scene that its captions don't ask for: training shows nothing that is held out.
fn may_show(split: Split, scene: Scene) -> bool {
    split != Split::Train || scene.split() == Split::Train
}
