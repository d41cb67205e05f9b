//! Pairs as values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::images::Pixels;

/// The modality of a pair's sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Texts.
    #[default]
    Token,
    /// Images.
    Diffusion,
    /// A refined prompt, and the image generated from it.
    Hybrid,
}

impl Modality {
    /// Every modality.
    pub const ALL: [Self; 3] = [Self::Token, Self::Diffusion, Self::Hybrid];

    /// The name in `pairs.json` and `run.mdp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Diffusion => "diffusion",
            Self::Hybrid => "hybrid",
        }
    }

    /// Whether a pair's sides have images.
    pub fn has_pictures(self) -> bool {
        self != Self::Token
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A side of a pair in the files, independent of its placement on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both sides, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The name in the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request and two results; `Y` is [`StoredResult`] in a folder and [`NewResult`] before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedPair<Y> {
    /// The request, shared by both sides.
    pub request: String,
    /// The first result.
    pub a: GeneratedResult<Y>,
    /// The second result.
    pub b: GeneratedResult<Y>,
}

impl<Y> GeneratedPair<Y> {
    /// The result of a side.
    pub fn side(&self, side: Side) -> &GeneratedResult<Y> {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

/// One of the two results, and how it was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedResult<Y> {
    /// The generator's prompt from a refiner: for hybrid pairs only.
    pub refined: Option<Refined>,
    /// The result.
    pub made: Y,
    /// Its random seed.
    pub seed: u64,
    /// The log-probability of each decision under the generating models, in nats, if recorded.
    pub log_probs: Option<Vec<f64>>,
}

/// A refined prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refined {
    /// The text given to the generator.
    pub text: String,
    /// The sampled tokens, with EOS if it was sampled; empty if no refiner was used.
    pub tokens: Vec<u32>,
    /// Whether no refiner was used, so that the text is the request.
    pub is_null: bool,
}

/// The result stored in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredResult {
    /// A text.
    Response(String),
    /// The image's file name within the folder, such as `images/00000-a.png`.
    Image(String),
}

/// A result to be stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NewResult<'a> {
    /// A text.
    Response(&'a str),
    /// An image.
    Image {
        /// The image shown to labellers.
        picture: &'a Pixels,
        /// The generator's output, in the order height, width, channel.
        latent: &'a [f32],
    },
}
