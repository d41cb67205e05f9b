//! A pair as a value.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::images::Pixels;

/// What kind of thing the models made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Texts.
    #[default]
    Token,
    /// Pictures.
    Diffusion,
    /// A refined prompt, and the picture made of it.
    Hybrid,
}

impl Modality {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Token, Self::Diffusion, Self::Hybrid];

    /// The name, as in `pairs.json` and `--mdp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Diffusion => "diffusion",
            Self::Hybrid => "hybrid",
        }
    }

    /// Whether a pair's sides are pictures.
    pub fn has_pictures(self) -> bool {
        self != Self::Token
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of the two sides of a pair, as the files have them; which stands left on a screen is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The name, as in the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other one.
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

/// A request and two things made for it; `Y` is what was made, [`Kept`] in a folder and [`Fresh`] on its way there.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<Y> {
    /// What was asked for, of both.
    pub request: String,
    /// The first.
    pub a: Candidate<Y>,
    /// The second.
    pub b: Candidate<Y>,
}

impl<Y> Pair<Y> {
    /// One of the two.
    pub fn side(&self, side: Side) -> &Candidate<Y> {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

/// One of the two things to compare, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<Y> {
    /// The prompt that the generator was given, where a refiner stood before it: of hybrid pairs, and of no others.
    pub refined: Option<Refined>,
    /// What was made.
    pub made: Y,
    /// The seed it was drawn with.
    pub seed: u64,
    /// The log-probability of each decision (nats) under the models that made it, if it was kept.
    pub log_probs: Option<Vec<f64>>,
}

/// What a refiner made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refined {
    /// The prompt that the generator was given.
    pub text: String,
    /// The tokens that were drawn, with EOS where it was drawn; empty where no refiner was asked.
    pub tokens: Vec<u32>,
    /// Whether no refiner was asked, so that the text is the request.
    pub is_null: bool,
}

/// What a side has in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A text.
    Response(String),
    /// The name of a picture's file within the folder, such as `images/00000-a.png`.
    Image(String),
}

/// What a side has before it is in a folder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fresh<'a> {
    /// A text.
    Response(&'a str),
    /// A picture.
    Image {
        /// What a person sees.
        picture: &'a Pixels,
        /// What the generator made, in the order row, column, channel.
        latent: &'a [f32],
    },
}
