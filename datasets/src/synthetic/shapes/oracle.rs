//! The judge that knows the answers.

use super::Outcome;
use super::masks::MASKS;
use super::render::EDGE;
use super::scene::{Attribute, Background, Colour, Position, Scene, Shape, Size};
use crate::images::Pixels;
use crate::synthetic::pattern::{Picture, distance, nearest};

/// Reads pictures, and scores them by what was wanted.
///
/// A picture is compared with every shape in every size around every pixel (not only the nine places, so that a shape
/// a little out of place is read where it is), each with the paint and the ground that fit best by least squares; the
/// comparison that explains most of the picture is its reading. The paint is named after the nearest of the colours.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// What the oracle sees in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The outline; `None` if there is nothing to be seen.
    pub shape: Option<Shape>,
    /// The colour; `None` if there is nothing to be seen, or of a colour that is none of ours.
    pub colour: Option<Colour>,
    /// The size; `None` if there is nothing to be seen.
    pub size: Option<Size>,
    /// The place; `None` if there is nothing to be seen.
    pub position: Option<Position>,
    /// What is behind; `None` if it is neither dark nor light.
    pub background: Option<Background>,
    /// The share of the picture's variation that the reading explains, 0 to 1: how sure the oracle is.
    pub confidence: f64,
    /// What the reading does not explain: root mean square over all values, which go from -1 to 1.
    pub residual: f64,
}

impl Reading {
    /// Whether one attribute is as wanted.
    pub fn agrees(&self, wanted: &Scene, attribute: Attribute) -> bool {
        match attribute {
            Attribute::Shape => self.shape == Some(wanted.shape),
            Attribute::Colour => self.colour == Some(wanted.colour),
            Attribute::Size => self.size == Some(wanted.size),
            Attribute::Position => self.position == Some(wanted.position),
        }
    }

    /// How many of the four attributes are as wanted.
    pub fn right(&self, wanted: &Scene) -> usize {
        Attribute::ALL.into_iter().filter(|attribute| self.agrees(wanted, *attribute)).count()
    }

    /// The reading as one number: see [`Oracle::score`].
    pub fn score(&self, wanted: &Scene) -> f64 {
        let mess = (self.residual - Oracle::RESIDUAL_LIMIT).max(0.0);
        self.right(wanted) as f64 - (Oracle::MESS_PRICE * mess).min(1.0)
    }
}

impl Oracle {
    /// The share of a picture's variation that has to be explained before anything counts as seen.
    pub const CONFIDENCE_LIMIT: f64 = 0.25;
    /// How far paint and ground have to be apart before anything counts as seen, as a distance in RGB.
    pub const CONTRAST_LIMIT: f32 = 0.6;
    /// How far from the nearest colour a paint still has its name, as a distance in RGB.
    pub const COLOUR_LIMIT: f32 = 0.85;
    /// The residual that costs nothing.
    pub const RESIDUAL_LIMIT: f64 = 0.15;
    /// What each unit of residual above the limit costs.
    pub const MESS_PRICE: f64 = 2.0;
    /// Scores that differ by no more than this are a tie, so that a trace of noise decides nothing.
    pub const TIE: f64 = 0.1;

    /// Reads a picture, as a file would hold it: values outside -1 to 1 are clipped. One of other than [`EDGE`] rows and columns, or with values that are no numbers, shows nothing.
    pub fn read(pixels: &Pixels) -> Reading {
        let Some(picture) = Picture::of(pixels, EDGE) else { return nothing(0.0, 1.0) };
        let Some(seen) = picture.explain(MASKS.iter().map(|mask| (mask, &mask.pattern))) else {
            return nothing(0.0, 1.0);
        };
        if seen.confidence < Self::CONFIDENCE_LIMIT || distance(seen.paint, seen.ground) < Self::CONTRAST_LIMIT {
            return nothing(seen.confidence, picture.spread());
        }
        let mask = seen.what;
        Reading {
            shape: Some(mask.shape),
            colour: nearest(seen.paint, &Colour::ALL.map(|colour| (colour, colour.values())), Self::COLOUR_LIMIT),
            size: Some(mask.size),
            position: Some(mask.position),
            background: nearest(
                seen.ground,
                &Background::ALL.map(|ground| (ground, ground.values())),
                Self::COLOUR_LIMIT,
            ),
            confidence: seen.confidence,
            residual: seen.residual,
        }
    }

    /// How well a picture shows what was wanted; 4 is the best.
    ///
    /// `score = right - min(1, 2 * max(0, residual - 0.15))`, with `right` of the four attributes as wanted.
    pub fn score(wanted: &Scene, pixels: &Pixels) -> f64 {
        Self::read(pixels).score(wanted)
    }

    /// Judges two pictures of the same wish against each other: by their scores, within [`Oracle::TIE`] a tie.
    pub fn compare(wanted: &Scene, first: &Pixels, second: &Pixels) -> Outcome {
        let (first, second) = (Self::score(wanted, first), Self::score(wanted, second));
        if (first - second).abs() <= Self::TIE { Outcome::Tie } else { first.total_cmp(&second).into() }
    }
}

fn nothing(confidence: f64, residual: f64) -> Reading {
    Reading { shape: None, colour: None, size: None, position: None, background: None, confidence, residual }
}
