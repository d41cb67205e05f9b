//! Requests.

use super::Split;
use super::scene::{Direction, Speed, Wanted};
use super::shape::Shape;
use crate::synthetic::draw::RandomDraws;

/// Every word of requests, in alphabetical order; words are separated by one space.
pub const WORDS: [&str; 18] = [
    "a", "circle", "cross", "down", "fast", "goes", "going", "heads", "left", "moves", "quickly", "right", "show",
    "slow", "slowly", "triangle", "up", "watch",
];

/// The phrasing of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asking {
    /// `a circle moves right slowly`.
    Moves,
    /// `show a circle going right slowly`.
    Show,
    /// `a slow circle heads right`.
    Heads,
    /// `watch right goes a slow circle`.
    Watch,
}

impl Asking {
    /// Every phrasing.
    pub const ALL: [Self; 4] = [Self::Moves, Self::Show, Self::Heads, Self::Watch];
}

/// A request: a motion and its phrasing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The requested motion.
    pub wanted: Wanted,
    /// The phrasing.
    pub asking: Asking,
}

impl Request {
    /// Every request.
    pub fn all() -> impl Iterator<Item = Self> {
        Wanted::all().flat_map(|wanted| Asking::ALL.map(|asking| Self { wanted, asking }))
    }

    /// The text of the request.
    pub fn text(&self) -> String {
        let Wanted { shape, direction, speed } = self.wanted;
        let (shape, direction) = (shape.word(), direction.word());
        let (adjective, adverb) = match speed {
            Speed::Slow => ("slow", "slowly"),
            Speed::Fast => ("fast", "quickly"),
        };
        match self.asking {
            Asking::Moves => format!("a {shape} moves {direction} {adverb}"),
            Asking::Show => format!("show a {shape} going {direction} {adverb}"),
            Asking::Heads => format!("a {adjective} {shape} heads {direction}"),
            Asking::Watch => format!("watch {direction} goes a {adjective} {shape}"),
        }
    }

    /// Parses the text of a request exactly.
    pub fn read(text: &str) -> Option<Self> {
        Self::all().find(|request| request.text() == text)
    }

    /// The split: of a motion's four phrasings one is for tests, and for every other motion a second one for
    /// validation.
    pub fn split(&self) -> Split {
        let Wanted { shape, direction, speed } = self.wanted;
        let turn = shape as usize + direction as usize + 2 * speed as usize;
        match (self.asking as usize + turn) % Asking::ALL.len() {
            0 => Split::Test,
            1 if turn.is_multiple_of(2) => Split::Validation,
            _ => Split::Train,
        }
    }

    /// Draws a request of a split uniformly.
    pub(super) fn draw(split: Split, draw: &mut RandomDraws) -> Self {
        loop {
            let (shape, direction) = (draw.choose(&Shape::ALL), draw.choose(&Direction::ALL));
            let wanted = Wanted { shape, direction, speed: draw.choose(&Speed::ALL) };
            let request = Self { wanted, asking: draw.choose(&Asking::ALL) };
            if request.split() == split {
                return request;
            }
        }
    }
}

impl Wanted {
    /// Parses a request in any phrasing; `None` if the text is not a request.
    pub fn from_request(text: &str) -> Option<Self> {
        Request::read(text).map(|request| request.wanted)
    }
}
