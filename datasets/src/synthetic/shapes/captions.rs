//! Captions of scenes, and their parser.

use super::scene::{Background, Colour, Position, Scene, Shape, Size};

/// Every word of captions, in alphabetical order; words are separated by one space.
pub const WORDS: [&str; 23] = [
    "a", "at", "blue", "bottom", "circle", "cross", "cyan", "green", "in", "is", "large", "left", "magenta", "middle",
    "red", "right", "small", "square", "the", "there", "top", "triangle", "yellow",
];

/// The phrasing of a caption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phrasing {
    /// `a small red circle in the top left`.
    #[default]
    Plain,
    /// `small red circle top left`.
    Terse,
    /// `there is a small red circle in the top left`.
    There,
    /// `in the top left is a small red circle`.
    PlaceFirst,
}

impl Phrasing {
    /// Every phrasing.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Terse, Self::There, Self::PlaceFirst];
}

impl Scene {
    /// The caption in the plain phrasing.
    pub fn caption(&self) -> String {
        self.caption_as(Phrasing::Plain)
    }

    /// The caption in one of the phrasings.
    pub fn caption_as(&self, phrasing: Phrasing) -> String {
        let what = format!("{} {} {}", self.size.word(), self.colour.word(), self.shape.word());
        let place = self.position.words();
        let preposition = match self.position {
            Position::Top | Position::Left | Position::Right | Position::Bottom => "at",
            Position::Middle
            | Position::TopLeft
            | Position::TopRight
            | Position::BottomLeft
            | Position::BottomRight => "in",
        };
        match phrasing {
            Phrasing::Plain => format!("a {what} {preposition} the {place}"),
            Phrasing::Terse => format!("{what} {place}"),
            Phrasing::There => format!("there is a {what} {preposition} the {place}"),
            Phrasing::PlaceFirst => format!("{preposition} the {place} is a {what}"),
        }
    }

    /// Parses a caption in any phrasing; the background, which captions omit, is dark.
    ///
    /// Each attribute must occur once, and all words must be in [`WORDS`].
    pub fn from_caption(caption: &str) -> Option<Self> {
        let words: Vec<&str> = caption.split(' ').collect();
        if !words.iter().all(|word| WORDS.contains(word)) {
            return None;
        }
        let only = |known: &[&str]| {
            let mut told = words.iter().filter_map(|word| known.iter().position(|name| name == word));
            told.next().filter(|_| told.next().is_none())
        };
        let none = |known: &[&str]| !words.iter().any(|word| known.contains(word));
        let third = |first, last| if none(&[first, last]) { Some(1) } else { only(&[first, last]).map(|at| at * 2) };
        let (row, column) = (third("top", "bottom")?, third("left", "right")?);
        let is_middle = only(&["middle"]).is_some();
        if is_middle != ((row, column) == (1, 1)) {
            return None;
        }
        Some(Self {
            shape: Shape::ALL[only(&Shape::ALL.map(Shape::word))?],
            colour: Colour::ALL[only(&Colour::ALL.map(Colour::word))?],
            size: Size::ALL[only(&Size::ALL.map(Size::word))?],
            position: Position::at(row, column)?,
            background: Background::Dark,
        })
    }
}
