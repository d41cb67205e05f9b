//! The oracle: recognises and scores images.

use std::sync::LazyLock;

use super::ComparisonOutcome;
use super::render::{EDGE, silhouette};
use super::requests::Wanted;
use super::scene::{Attribute, Body, Colour, Field, Head, Scene};
use crate::images::Pixels;
use crate::synthetic::pattern::{Pattern, Picture, distance, nearest};

/// Recognises the attributes of images, and scores them against the request.
///
/// An image is compared with the silhouette of every head on every body, shifted by up to two pixels, each with the
/// least-squares foreground and background colours; the best fit is the detection. Both colours are named after the
/// nearest known colour.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// The attributes recognised in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The head; `None` if nothing is recognised.
    pub head: Option<Head>,
    /// The body; `None` if nothing is recognised.
    pub body: Option<Body>,
    /// The creature's colour; `None` if nothing or an unknown colour is recognised.
    pub colour: Option<Colour>,
    /// The field; `None` if nothing or an unknown field is recognised.
    pub field: Option<Field>,
    /// Confidence: the explained share of the image's variance, 0 to 1.
    pub confidence: f64,
    /// The root mean square residual over all values, which range from -1 to 1.
    pub residual: f64,
}

impl Detection {
    /// Whether one attribute is as requested.
    pub fn agrees(&self, wanted: &Scene, attribute: Attribute) -> bool {
        match attribute {
            Attribute::Head => self.head == Some(wanted.head),
            Attribute::Body => self.body == Some(wanted.body),
            Attribute::Colour => self.colour == Some(wanted.colour),
            Attribute::Field => self.field == Some(wanted.field),
        }
    }

    /// Number of attributes, of four, as requested.
    pub fn right(&self, wanted: &Scene) -> usize {
        Attribute::ALL.into_iter().filter(|attribute| self.agrees(wanted, *attribute)).count()
    }

    /// The score of the detection: see [`Oracle::score`].
    pub fn score(&self, wanted: &Wanted) -> f64 {
        let mess = (self.residual - Oracle::RESIDUAL_LIMIT).max(0.0);
        let points = self.right(&wanted.scene) as f64 - (Oracle::MESS_PRICE * mess).min(1.0);
        (points / Attribute::ALL.len() as f64).max(0.0)
    }
}

impl Oracle {
    /// Minimum explained share of variance for a detection.
    pub const CONFIDENCE_LIMIT: f64 = 0.25;
    /// Minimum distance in RGB of foreground and background for a detection.
    pub const CONTRAST_LIMIT: f32 = 0.6;
    /// Maximum distance in RGB from the nearest named colour.
    pub const COLOUR_LIMIT: f32 = 0.85;
    /// The residual without penalty.
    pub const RESIDUAL_LIMIT: f64 = 0.2;
    /// Penalty per unit of residual above the limit, in attributes.
    pub const MESS_PRICE: f64 = 2.0;
    /// Scores within this difference are a tie, so that noise does not decide.
    pub const TIE: f64 = 0.05;

    /// Recognises an image as stored in a file: values outside -1 to 1 are clipped. An image of another size than
    /// [`EDGE`] x [`EDGE`], or with non-finite values, gives no attributes.
    pub fn read(pixels: &Pixels) -> Detection {
        let Some(picture) = Picture::of(pixels, EDGE) else { return nothing(0.0, 1.0) };
        let patterns = SILHOUETTES.iter().map(|(creature, pattern)| (*creature, pattern));
        let Some(seen) = picture.explain(patterns) else { return nothing(0.0, 1.0) };
        if seen.confidence < Self::CONFIDENCE_LIMIT || distance(seen.paint, seen.ground) < Self::CONTRAST_LIMIT {
            return nothing(seen.confidence, picture.spread());
        }
        let (head, body) = seen.what;
        Detection {
            head: Some(head),
            body: Some(body),
            colour: nearest(seen.paint, &Colour::ALL.map(|colour| (colour, colour.values())), Self::COLOUR_LIMIT),
            field: nearest(seen.ground, &Field::ALL.map(|field| (field, field.values())), Self::COLOUR_LIMIT),
            confidence: seen.confidence,
            residual: seen.residual,
        }
    }

    /// Scores an image against the request, from 0 to 1.
    ///
    /// `score = max(0, right - min(1, 2 * max(0, residual - 0.2))) / 4`, with `right` of the four attributes as wanted.
    pub fn score(wanted: &Wanted, pixels: &Pixels) -> f64 {
        Self::read(pixels).score(wanted)
    }

    /// Compares two images of the same request by score; within [`Oracle::TIE`] they are tied.
    pub fn compare(wanted: &Wanted, first: &Pixels, second: &Pixels) -> ComparisonOutcome {
        let (first, second) = (Self::score(wanted, first), Self::score(wanted, second));
        if (first - second).abs() <= Self::TIE { ComparisonOutcome::Tie } else { first.total_cmp(&second).into() }
    }
}

fn nothing(confidence: f64, residual: f64) -> Detection {
    Detection { head: None, body: None, colour: None, field: None, confidence, residual }
}

/// Every head on every body, shifted by up to two pixels in each direction.
static SILHOUETTES: LazyLock<Vec<((Head, Body), Pattern)>> = LazyLock::new(|| {
    let creatures = Head::ALL.into_iter().flat_map(|head| Body::ALL.map(|body| (head, body)));
    let moves = (0..5).flat_map(|down| (0..5).map(move |right| (down, right)));
    let of_creature = |(head, body): (Head, Body)| {
        let painted = silhouette(head, body);
        moves.clone().map(move |(down, right)| ((head, body), Pattern::new(&moved(&painted, down, right))))
    };
    creatures.flat_map(of_creature).collect()
});

/// A silhouette shifted by `down - 2` and `right - 2` pixels, padded with background.
fn moved(painted: &[bool], down: usize, right: usize) -> Vec<f32> {
    let at = |row: usize, column: usize| {
        let (row, column) = ((row + 2).checked_sub(down)?, (column + 2).checked_sub(right)?);
        (row < EDGE && column < EDGE).then(|| painted[row * EDGE + column])
    };
    (0..EDGE * EDGE).map(|pixel| f32::from(u8::from(at(pixel / EDGE, pixel % EDGE) == Some(true)))).collect()
}
