//! The judge that knows the answers.

use std::sync::LazyLock;

use super::Outcome;
use super::render::{EDGE, silhouette};
use super::requests::Wanted;
use super::scene::{Attribute, Body, Colour, Field, Head, Scene};
use crate::images::Pixels;
use crate::synthetic::pattern::{Pattern, Picture, distance, nearest};

/// Reads pictures, and scores them by what was wanted.
///
/// A picture is compared with the silhouette of every head on every body, up to two pixels out of place, each with the
/// paint and the ground that fit best by least squares; the comparison that explains most of the picture is its reading.
/// Paint and ground are named after the nearest of the colours.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// What the oracle sees in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The head; `None` if there is nothing to be seen.
    pub head: Option<Head>,
    /// The body; `None` if there is nothing to be seen.
    pub body: Option<Body>,
    /// The creature's colour; `None` if there is nothing to be seen, or of a colour that is none of ours.
    pub colour: Option<Colour>,
    /// The field; `None` if there is nothing to be seen, or on a field that is none of ours.
    pub field: Option<Field>,
    /// The share of the picture's variation that the reading explains, 0 to 1: how sure the oracle is.
    pub confidence: f64,
    /// What the reading does not explain: root mean square over all values, which go from -1 to 1.
    pub residual: f64,
}

impl Reading {
    /// Whether one attribute is as wanted.
    pub fn agrees(&self, wanted: &Scene, attribute: Attribute) -> bool {
        match attribute {
            Attribute::Head => self.head == Some(wanted.head),
            Attribute::Body => self.body == Some(wanted.body),
            Attribute::Colour => self.colour == Some(wanted.colour),
            Attribute::Field => self.field == Some(wanted.field),
        }
    }

    /// How many of the four attributes are as wanted.
    pub fn right(&self, wanted: &Scene) -> usize {
        Attribute::ALL.into_iter().filter(|attribute| self.agrees(wanted, *attribute)).count()
    }

    /// The reading as one number: see [`Oracle::score`].
    pub fn score(&self, wanted: &Wanted) -> f64 {
        let mess = (self.residual - Oracle::RESIDUAL_LIMIT).max(0.0);
        let points = self.right(&wanted.scene) as f64 - (Oracle::MESS_PRICE * mess).min(1.0);
        (points / Attribute::ALL.len() as f64).max(0.0)
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
    pub const RESIDUAL_LIMIT: f64 = 0.2;
    /// What each unit of residual above the limit costs, in attributes.
    pub const MESS_PRICE: f64 = 2.0;
    /// Scores that differ by no more than this are a tie, so that a trace of noise decides nothing.
    pub const TIE: f64 = 0.05;

    /// Reads a picture, as a file would hold it: values outside -1 to 1 are clipped. One of other than [`EDGE`] rows and
    /// columns, or with values that are no numbers, shows nothing.
    pub fn read(pixels: &Pixels) -> Reading {
        let Some(picture) = Picture::of(pixels, EDGE) else { return nothing(0.0, 1.0) };
        let patterns = SILHOUETTES.iter().map(|(creature, pattern)| (*creature, pattern));
        let Some(seen) = picture.explain(patterns) else { return nothing(0.0, 1.0) };
        if seen.confidence < Self::CONFIDENCE_LIMIT || distance(seen.paint, seen.ground) < Self::CONTRAST_LIMIT {
            return nothing(seen.confidence, picture.spread());
        }
        let (head, body) = seen.what;
        Reading {
            head: Some(head),
            body: Some(body),
            colour: nearest(seen.paint, &Colour::ALL.map(|colour| (colour, colour.values())), Self::COLOUR_LIMIT),
            field: nearest(seen.ground, &Field::ALL.map(|field| (field, field.values())), Self::COLOUR_LIMIT),
            confidence: seen.confidence,
            residual: seen.residual,
        }
    }

    /// How well a picture shows what was wanted, 0 to 1.
    ///
    /// `score = max(0, right - min(1, 2 * max(0, residual - 0.2))) / 4`, with `right` of the four attributes as wanted.
    pub fn score(wanted: &Wanted, pixels: &Pixels) -> f64 {
        Self::read(pixels).score(wanted)
    }

    /// Judges two pictures of the same wish against each other: by their scores, within [`Oracle::TIE`] a tie.
    pub fn compare(wanted: &Wanted, first: &Pixels, second: &Pixels) -> Outcome {
        let (first, second) = (Self::score(wanted, first), Self::score(wanted, second));
        if (first - second).abs() <= Self::TIE { Outcome::Tie } else { first.total_cmp(&second).into() }
    }
}

fn nothing(confidence: f64, residual: f64) -> Reading {
    Reading { head: None, body: None, colour: None, field: None, confidence, residual }
}

/// Every head on every body, moved by up to two pixels down and right or up and left.
static SILHOUETTES: LazyLock<Vec<((Head, Body), Pattern)>> = LazyLock::new(|| {
    let creatures = Head::ALL.into_iter().flat_map(|head| Body::ALL.map(|body| (head, body)));
    let moves = (0..5).flat_map(|down| (0..5).map(move |right| (down, right)));
    let of_creature = |(head, body): (Head, Body)| {
        let painted = silhouette(head, body);
        moves.clone().map(move |(down, right)| ((head, body), Pattern::new(&moved(&painted, down, right))))
    };
    creatures.flat_map(of_creature).collect()
});

/// A silhouette moved by `down - 2` and `right - 2` pixels; nothing comes in from outside.
fn moved(painted: &[bool], down: usize, right: usize) -> Vec<f32> {
    let at = |row: usize, column: usize| {
        let (row, column) = ((row + 2).checked_sub(down)?, (column + 2).checked_sub(right)?);
        (row < EDGE && column < EDGE).then(|| painted[row * EDGE + column])
    };
    (0..EDGE * EDGE).map(|pixel| f32::from(u8::from(at(pixel / EDGE, pixel % EDGE) == Some(true)))).collect()
}
