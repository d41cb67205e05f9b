//! The oracle: recognises and scores images.

use super::ComparisonOutcome;
use super::masks::MASKS;
use super::render::EDGE;
use super::scene::{Attribute, Background, Colour, Position, Scene, Shape, Size};
use crate::images::Pixels;
use crate::synthetic::pattern::{Picture, distance, nearest};

/// Recognises the attributes of images, and scores them against the caption.
///
/// An image is compared with every shape in every size around every pixel (not only the nine positions, so that a
/// slightly shifted shape is recognised in place), each with the least-squares foreground and background colours; the
/// best fit is the detection. The foreground is named after the nearest known colour.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

/// The attributes recognised in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// The shape; `None` if nothing is recognised.
    pub shape: Option<Shape>,
    /// The colour; `None` if nothing or an unknown colour is recognised.
    pub colour: Option<Colour>,
    /// The size; `None` if nothing is recognised.
    pub size: Option<Size>,
    /// The position; `None` if nothing is recognised.
    pub position: Option<Position>,
    /// The background; `None` if it is neither dark nor light.
    pub background: Option<Background>,
    /// Confidence: the explained share of the image's variance, 0 to 1.
    pub confidence: f64,
    /// The root mean square residual over all values, which range from -1 to 1.
    pub residual: f64,
}

impl Detection {
    /// Whether one attribute is as requested.
    pub fn agrees(&self, wanted: &Scene, attribute: Attribute) -> bool {
        match attribute {
            Attribute::Shape => self.shape == Some(wanted.shape),
            Attribute::Colour => self.colour == Some(wanted.colour),
            Attribute::Size => self.size == Some(wanted.size),
            Attribute::Position => self.position == Some(wanted.position),
        }
    }

    /// Number of attributes, of four, as requested.
    pub fn right(&self, wanted: &Scene) -> usize {
        Attribute::ALL.into_iter().filter(|attribute| self.agrees(wanted, *attribute)).count()
    }

    /// The score of the detection: see [`Oracle::score`].
    pub fn score(&self, wanted: &Scene) -> f64 {
        let mess = (self.residual - Oracle::RESIDUAL_LIMIT).max(0.0);
        self.right(wanted) as f64 - (Oracle::MESS_PRICE * mess).min(1.0)
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
    pub const RESIDUAL_LIMIT: f64 = 0.15;
    /// Penalty per unit of residual above the limit.
    pub const MESS_PRICE: f64 = 2.0;
    /// Maximum difference of a right pixel's channel, a quarter of the range from -1 to 1.
    pub const PIXEL_LIMIT: f32 = 0.5;
    /// Scores within this difference are a tie, so that noise does not decide.
    pub const TIE: f64 = 0.1;

    /// Recognises an image as stored in a file: values outside -1 to 1 are clipped. An image of another size than
    /// [`EDGE`] x [`EDGE`], or with non-finite values, gives no attributes.
    pub fn read(pixels: &Pixels) -> Detection {
        let Some(picture) = Picture::of(pixels, EDGE) else { return nothing(0.0, 1.0) };
        let Some(seen) = picture.explain(MASKS.iter().map(|mask| (mask, &mask.pattern))) else {
            return nothing(0.0, 1.0);
        };
        if seen.confidence < Self::CONFIDENCE_LIMIT || distance(seen.paint, seen.ground) < Self::CONTRAST_LIMIT {
            return nothing(seen.confidence, picture.spread());
        }
        let mask = seen.what;
        Detection {
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

    /// Scores an image against the request; 4 is the best.
    ///
    /// `score = right - min(1, 2 * max(0, residual - 0.15))`, with `right` of the four attributes as wanted.
    pub fn score(wanted: &Scene, pixels: &Pixels) -> f64 {
        Self::read(pixels).score(wanted)
    }

    /// Finds the pixels that differ from the right image: the request rendered on the background that is seen. The pixels
    /// of what is missing are wrong too, as a shape in the wrong place leaves another place empty.
    ///
    /// A pixel differs by more than [`Oracle::PIXEL_LIMIT`] in a channel. Row by row; `None` for an image of another
    /// size, with non-finite values, or whose background is not recognised.
    pub fn wrong_pixels(wanted: &Scene, pixels: &Pixels) -> Option<Vec<bool>> {
        let background = Self::read(pixels).background?;
        let right = Scene { background, ..*wanted }.render();
        let differs = |(found, right): (&f32, &f32)| (found.clamp(-1.0, 1.0) - right).abs() > Self::PIXEL_LIMIT;
        let places = pixels.values().chunks_exact(Pixels::CHANNELS).zip(right.values().chunks_exact(Pixels::CHANNELS));
        Some(places.map(|(found, right)| found.iter().zip(right).any(differs)).collect())
    }

    /// Compares two images of the same request by score; within [`Oracle::TIE`] they are tied.
    pub fn compare(wanted: &Scene, first: &Pixels, second: &Pixels) -> ComparisonOutcome {
        let (first, second) = (Self::score(wanted, first), Self::score(wanted, second));
        if (first - second).abs() <= Self::TIE { ComparisonOutcome::Tie } else { first.total_cmp(&second).into() }
    }
}

fn nothing(confidence: f64, residual: f64) -> Detection {
    Detection { shape: None, colour: None, size: None, position: None, background: None, confidence, residual }
}
