//! Refined prompts: descriptions of a creature's parts in several manners.

use super::scene::{Attribute, Body, Colour, Field, Head, Scene};
use super::words::{article, only};

/// The phrasing of a refined prompt.
///
/// The generator of the embedded problem draws the first well and the last hardly at all ([`Manner::error_rates`]); the
/// refiner's data do not depend on this ([`Manner::SHARES`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Manner {
    /// `the head of a bull on the body of a man in red on a white field`.
    Parts,
    /// `bull head man body red on white`.
    Terse,
    /// `half bull half man in red before white`.
    Halves,
    /// The unchanged request, in which only the name implies the parts.
    Request,
}

impl Manner {
    /// Every manner.
    pub const ALL: [Self; 4] = [Self::Parts, Self::Terse, Self::Halves, Self::Request];

    /// Share of each manner in the refiner's demonstrations, in the order of [`Self::ALL`].
    pub const SHARES: [f64; 4] = [0.4, 0.15, 0.25, 0.2];

    /// Error rates of the generator's training images for a part (head, body) and for a colour (creature, field) that a
    /// text in this manner describes.
    ///
    /// A wrong part is one of the five others, a wrong colour one of the three others.
    pub fn error_rates(self) -> (f64, f64) {
        match self {
            Self::Parts => (0.2, 0.15),
            Self::Terse => (0.4, 0.3),
            Self::Halves => (0.6, 0.5),
            Self::Request => (0.8, 0.5),
        }
    }

    /// The error rate of an attribute: see [`Self::error_rates`].
    pub(super) fn error_rate(self, attribute: Attribute) -> f64 {
        let (part, colour) = self.error_rates();
        if matches!(attribute, Attribute::Head | Attribute::Body) { part } else { colour }
    }
}

/// The content of a refined prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Said {
    /// The head, if described.
    pub head: Option<Head>,
    /// The body, if described.
    pub body: Option<Body>,
    /// The creature's colour, if described.
    pub colour: Option<Colour>,
    /// The field, if described.
    pub field: Option<Field>,
}

impl Said {
    /// All attributes of a scene.
    pub fn all(scene: Scene) -> Self {
        Self { head: Some(scene.head), body: Some(scene.body), colour: Some(scene.colour), field: Some(scene.field) }
    }

    /// Omits one attribute.
    #[must_use]
    pub fn without(mut self, attribute: Attribute) -> Self {
        match attribute {
            Attribute::Head => self.head = None,
            Attribute::Body => self.body = None,
            Attribute::Colour => self.colour = None,
            Attribute::Field => self.field = None,
        }
        self
    }

    /// Whether an attribute is described.
    pub fn tells(&self, attribute: Attribute) -> bool {
        match attribute {
            Attribute::Head => self.head.is_some(),
            Attribute::Body => self.body.is_some(),
            Attribute::Colour => self.colour.is_some(),
            Attribute::Field => self.field.is_some(),
        }
    }

    /// Parses any text: an attribute is described if exactly one of its words occurs, once. A creature's name describes
    /// nothing here.
    pub fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        Self {
            head: only(&words, &Head::ALL.map(Head::word)).map(|at| Head::ALL[at]),
            body: only(&words, &Body::ALL.map(Body::word)).map(|at| Body::ALL[at]),
            colour: only(&words, &Colour::ALL.map(Colour::word)).map(|at| Colour::ALL[at]),
            field: only(&words, &Field::ALL.map(Field::word)).map(|at| Field::ALL[at]),
        }
    }

    /// The described scene, with the values of `otherwise` for missing attributes: the image of a perfect generator.
    pub fn scene(&self, otherwise: Scene) -> Scene {
        Scene {
            head: self.head.unwrap_or(otherwise.head),
            body: self.body.unwrap_or(otherwise.body),
            colour: self.colour.unwrap_or(otherwise.colour),
            field: self.field.unwrap_or(otherwise.field),
        }
    }

    /// Formats the text in a manner; `request` is the text that [`Manner::Request`] repeats.
    pub fn text(&self, manner: Manner, request: &str) -> String {
        let said = |before: &str, word: Option<&str>, after: &str| word.map(|word| format!("{before}{word}{after}"));
        let with_article = |before: &str, word: Option<&str>, after: &str| {
            word.map(|word| format!("{before}{} {word}{after}", article(word)))
        };
        let (head, body) = (self.head.map(Head::word), self.body.map(Body::word));
        let (colour, field) = (self.colour.map(Colour::word), self.field.map(Field::word));
        let pieces = match manner {
            Manner::Request => return request.to_owned(),
            Manner::Parts => [
                with_article("the head of ", head, if body.is_some() { " on" } else { "" }),
                with_article("the body of ", body, ""),
                said("in ", colour, ""),
                with_article("on ", field, " field"),
            ],
            Manner::Terse => {
                [said("", head, " head"), said("", body, " body"), said("", colour, ""), said("on ", field, "")]
            }
            Manner::Halves => {
                [said("half ", head, ""), said("half ", body, ""), said("in ", colour, ""), said("before ", field, "")]
            }
        };
        pieces.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
