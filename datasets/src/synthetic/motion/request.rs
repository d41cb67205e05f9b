//! What is asked for.

use super::Split;
use super::scene::{Direction, Shape, Speed, Wanted};
use crate::synthetic::draw::Draw;

/// Every word of every request, in alphabetical order; a text is words with one space between them.
pub const WORDS: [&str; 18] = [
    "a", "circle", "cross", "down", "fast", "goes", "going", "heads", "left", "moves", "quickly", "right", "show",
    "slow", "slowly", "triangle", "up", "watch",
];

/// A way to ask for the same.
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
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Moves, Self::Show, Self::Heads, Self::Watch];
}

/// A request: what is wanted, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// What is wanted.
    pub wanted: Wanted,
    /// In which words.
    pub asking: Asking,
}

impl Request {
    /// Every request.
    pub fn all() -> impl Iterator<Item = Self> {
        Wanted::all().flat_map(|wanted| Asking::ALL.map(|asking| Self { wanted, asking }))
    }

    /// The request in words.
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

    /// The request that a text is, word for word.
    pub fn read(text: &str) -> Option<Self> {
        Self::all().find(|request| request.text() == text)
    }

    /// The split that it belongs to: of the four ways to ask for a motion one is for tests, and another one for validation
    /// for every other motion.
    pub fn split(&self) -> Split {
        let Wanted { shape, direction, speed } = self.wanted;
        let turn = shape as usize + direction as usize + 2 * speed as usize;
        match (self.asking as usize + turn) % Asking::ALL.len() {
            0 => Split::Test,
            1 if turn.is_multiple_of(2) => Split::Validation,
            _ => Split::Train,
        }
    }

    /// A request of a split, each equally likely.
    pub(super) fn draw(split: Split, draw: &mut Draw) -> Self {
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
    /// What the request, in any of its phrasings, wants; nothing if the text is no request.
    pub fn from_request(text: &str) -> Option<Self> {
        Request::read(text).map(|request| request.wanted)
    }
}
