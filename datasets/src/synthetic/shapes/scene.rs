//! Scenes: the attributes of images.

use super::Split;
use crate::synthetic::draw::RandomDraws;

/// The shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// A disc.
    Circle,
    /// An axis-aligned square.
    Square,
    /// A triangle with a horizontal base.
    Triangle,
    /// A plus sign.
    Cross,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 4] = [Self::Circle, Self::Square, Self::Triangle, Self::Cross];

    /// The word in captions.
    pub fn word(self) -> &'static str {
        ["circle", "square", "triangle", "cross"][self as usize]
    }
}

/// The shape's colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Colour {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Red and green.
    Yellow,
    /// Green and blue.
    Cyan,
    /// Red and blue.
    Magenta,
}

impl Colour {
    /// Every colour.
    pub const ALL: [Self; 6] = [Self::Red, Self::Green, Self::Blue, Self::Yellow, Self::Cyan, Self::Magenta];

    /// The word in captions.
    pub fn word(self) -> &'static str {
        ["red", "green", "blue", "yellow", "cyan", "magenta"][self as usize]
    }

    /// The RGB values, from -1 to 1; any two colours are at least 1.6 apart in some channel.
    pub fn values(self) -> [f32; 3] {
        let (low, high) = (-0.8, 0.9);
        match self {
            Self::Red => [high, low, low],
            Self::Green => [low, high, low],
            Self::Blue => [low, low, high],
            Self::Yellow => [high, high, low],
            Self::Cyan => [low, high, high],
            Self::Magenta => [high, low, high],
        }
    }
}

/// The size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Size {
    /// Five pixels across.
    Small,
    /// Eight pixels across.
    Large,
}

impl Size {
    /// Every size.
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// The word in captions.
    pub fn word(self) -> &'static str {
        ["small", "large"][self as usize]
    }

    /// Half its width, in pixels.
    pub(super) fn radius(self) -> f32 {
        [2.5, 4.0][self as usize]
    }
}

/// The position: one of nine, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Position {
    /// Top left.
    TopLeft,
    /// Top middle.
    Top,
    /// Top right.
    TopRight,
    /// Middle left.
    Left,
    /// The middle.
    Middle,
    /// Middle right.
    Right,
    /// Bottom left.
    BottomLeft,
    /// Bottom middle.
    Bottom,
    /// Bottom right.
    BottomRight,
}

impl Position {
    /// Every position.
    pub const ALL: [Self; 9] = [
        Self::TopLeft,
        Self::Top,
        Self::TopRight,
        Self::Left,
        Self::Middle,
        Self::Right,
        Self::BottomLeft,
        Self::Bottom,
        Self::BottomRight,
    ];

    /// The words in captions.
    pub fn words(self) -> &'static str {
        ["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"]
            [self as usize]
    }

    /// The position at a row and column of the three by three grid.
    pub(super) fn at(row: usize, column: usize) -> Option<Self> {
        Self::ALL.get(row * 3 + column).copied().filter(|_| column < 3)
    }

    /// The row and column in the three by three grid.
    pub(super) fn place(self) -> (usize, usize) {
        (self as usize / 3, self as usize % 3)
    }
}

/// The background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Background {
    /// Nearly black.
    Dark,
    /// Nearly white.
    Light,
}

impl Background {
    /// Every background.
    pub const ALL: [Self; 2] = [Self::Dark, Self::Light];

    /// The RGB values, from -1 to 1.
    pub fn values(self) -> [f32; 3] {
        [[-0.85; 3], [0.85; 3]][self as usize]
    }
}

/// An attribute that captions describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// [`Shape`].
    Shape,
    /// [`Colour`].
    Colour,
    /// [`Size`].
    Size,
    /// [`Position`].
    Position,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 4] = [Self::Shape, Self::Colour, Self::Size, Self::Position];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        ["shape", "colour", "size", "position"][self as usize]
    }
}

/// The attributes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scene {
    /// The shape.
    pub shape: Shape,
    /// The colour.
    pub colour: Colour,
    /// The size.
    pub size: Size,
    /// The position.
    pub position: Position,
    /// The background, which captions omit.
    pub background: Background,
}

impl Scene {
    /// All scenes: 432 combinations of attributes on two backgrounds.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..4 * 6 * 2 * 9 * 2).map(|number: usize| Self {
            shape: Shape::ALL[number % 4],
            colour: Colour::ALL[number / 4 % 6],
            size: Size::ALL[number / 24 % 2],
            position: Position::ALL[number / 48 % 9],
            background: Background::ALL[number / 432],
        })
    }

    /// The split of the scene's shape, colour and position.
    ///
    /// With every attribute as its index in `ALL`: test if `position + 2 colour + 3 shape` is a multiple of ten,
    /// validation if it is five more than one, training otherwise.
    pub fn split(&self) -> Split {
        match (self.position as usize + 2 * self.colour as usize + 3 * self.shape as usize) % 10 {
            0 => Split::Test,
            5 => Split::Validation,
            _ => Split::Train,
        }
    }

    /// The attributes in which two scenes differ, in the order of [`Attribute::ALL`].
    pub fn differing(&self, other: &Self) -> Vec<Attribute> {
        let differ = |attribute: &Attribute| match attribute {
            Attribute::Shape => self.shape != other.shape,
            Attribute::Colour => self.colour != other.colour,
            Attribute::Size => self.size != other.size,
            Attribute::Position => self.position != other.position,
        };
        Attribute::ALL.into_iter().filter(differ).collect()
    }

    /// Draws a scene of a split uniformly.
    pub(super) fn draw(split: Split, draw: &mut RandomDraws) -> Self {
        loop {
            let scene = Self {
                shape: draw.choose(&Shape::ALL),
                colour: draw.choose(&Colour::ALL),
                size: draw.choose(&Size::ALL),
                position: draw.choose(&Position::ALL),
                background: draw.choose(&Background::ALL),
            };
            if scene.split() == split {
                return scene;
            }
        }
    }

    /// Changes each of the attributes to another value, drawn uniformly.
    pub(super) fn altered(mut self, attributes: &[Attribute], draw: &mut RandomDraws) -> Self {
        for attribute in attributes {
            match attribute {
                Attribute::Shape => self.shape = other(self.shape, &Shape::ALL, draw),
                Attribute::Colour => self.colour = other(self.colour, &Colour::ALL, draw),
                Attribute::Size => self.size = other(self.size, &Size::ALL, draw),
                Attribute::Position => self.position = other(self.position, &Position::ALL, draw),
            }
        }
        self
    }
}

/// Draws another value uniformly.
fn other<T: Copy + PartialEq>(value: T, values: &[T], draw: &mut RandomDraws) -> T {
    let others: Vec<T> = values.iter().copied().filter(|other| *other != value).collect();
    draw.choose(&others)
}
