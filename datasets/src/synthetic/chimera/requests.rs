//! Requests.

use super::Split;
use super::creatures::Creature;
use super::refined::{Manner, Said};
use super::scene::{Attribute, Colour, Field, Scene};
use super::words::{article, only};
use crate::synthetic::draw::RandomDraws;

/// The phrasing of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Asking {
    /// `a red minotaur on a white field`.
    #[default]
    Plain,
    /// `draw a red minotaur on white`.
    RandomDraws,
    /// `paint a minotaur in red on white`.
    Paint,
    /// `a creature like a minotaur in red on a white field`.
    Like,
    /// `on a white field a red minotaur`.
    FieldFirst,
}

impl Asking {
    /// Every phrasing.
    pub const ALL: [Self; 5] = [Self::Plain, Self::RandomDraws, Self::Paint, Self::Like, Self::FieldFirst];
}

/// A request: a named creature and two colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The creature.
    pub creature: Creature,
    /// The creature's colour.
    pub colour: Colour,
    /// The field.
    pub field: Field,
    /// The phrasing.
    pub asking: Asking,
}

impl Request {
    /// The text of the request.
    pub fn text(&self) -> String {
        let (name, colour, field) = (self.creature.name, self.colour.word(), self.field.word());
        let (a_name, a_colour, a_field) = (article(name), article(colour), article(field));
        match self.asking {
            Asking::Plain => format!("{a_colour} {colour} {name} on {a_field} {field} field"),
            Asking::RandomDraws => format!("draw {a_colour} {colour} {name} on {field}"),
            Asking::Paint => format!("paint {a_name} {name} in {colour} on {field}"),
            Asking::Like => format!("a creature like {a_name} {name} in {colour} on {a_field} {field} field"),
            Asking::FieldFirst => format!("on {a_field} {field} field {a_colour} {colour} {name}"),
        }
    }

    /// Parses the text of a request exactly.
    pub fn read(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let creature = Creature::ALL[only(&words, &Creature::ALL.map(|creature| creature.name))?];
        let colour = Colour::ALL[only(&words, &Colour::ALL.map(Colour::word))?];
        let field = Field::ALL[only(&words, &Field::ALL.map(Field::word))?];
        let asked = Asking::ALL.map(|asking| Self { creature, colour, field, asking });
        asked.into_iter().find(|request| request.text() == text)
    }

    /// The requested scene.
    pub fn scene(&self) -> Scene {
        Scene { head: self.creature.head, body: self.creature.body, colour: self.colour, field: self.field }
    }

    /// Draws a request of a split uniformly.
    pub(super) fn draw(split: Split, draw: &mut RandomDraws) -> Self {
        loop {
            let request = Self {
                creature: draw.choose(&Creature::ALL),
                colour: draw.choose(&Colour::ALL),
                field: draw.choose(&Field::ALL),
                asking: draw.choose(&Asking::ALL),
            };
            if request.scene().split() == split {
                return request;
            }
        }
    }
}

/// The scene that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The requested scene.
    pub scene: Scene,
}

impl Wanted {
    /// Parses a request in any phrasing; `None` if the text is not a request.
    pub fn from_request(text: &str) -> Option<Self> {
        Request::read(text).map(|request| Self { scene: request.scene() })
    }

    /// The best refined prompt: complete, correct and in the best manner.
    pub fn prompt(&self) -> String {
        Said::all(self.scene).text(Manner::Parts, "")
    }

    /// The share of attributes that a scene has right, 0 to 1: the score of its image by [`super::Oracle::score`].
    pub fn share(&self, shown: &Scene) -> f64 {
        1.0 - self.scene.differing(shown).len() as f64 / Attribute::ALL.len() as f64
    }
}
