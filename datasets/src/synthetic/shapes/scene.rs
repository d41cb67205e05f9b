//! What a picture shows, as values.

use super::Split;
use crate::synthetic::draw::Draw;

/// The outline of what is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// A disc.
    Circle,
    /// A square that stands on a side.
    Square,
    /// A triangle that stands on a side.
    Triangle,
    /// A plus sign.
    Cross,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 4] = [Self::Circle, Self::Square, Self::Triangle, Self::Cross];

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        ["circle", "square", "triangle", "cross"][self as usize]
    }
}

/// What it is painted with.
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

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        ["red", "green", "blue", "yellow", "cyan", "magenta"][self as usize]
    }

    /// Its red, green and blue, from -1 to 1; any two colours are at least 1.6 apart in some channel.
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

/// How large it is drawn.
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

    /// Its word in captions.
    pub fn word(self) -> &'static str {
        ["small", "large"][self as usize]
    }

    /// Half its width, in pixels.
    pub(super) fn radius(self) -> f32 {
        [2.5, 4.0][self as usize]
    }
}

/// Where it is drawn: one of nine places, row by row.
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

    /// Its words in captions.
    pub fn words(self) -> &'static str {
        ["top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right"]
            [self as usize]
    }

    /// The position in this row and column of the three by three places.
    pub(super) fn at(row: usize, column: usize) -> Option<Self> {
        Self::ALL.get(row * 3 + column).copied().filter(|_| column < 3)
    }

    /// Its row and column among the three by three places.
    pub(super) fn place(self) -> (usize, usize) {
        (self as usize / 3, self as usize % 3)
    }
}

/// What is behind it.
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

    /// Its red, green and blue, from -1 to 1.
    pub fn values(self) -> [f32; 3] {
        [[-0.85; 3], [0.85; 3]][self as usize]
    }
}

/// An attribute that captions tell.
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

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        ["shape", "colour", "size", "position"][self as usize]
    }
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scene {
    /// The outline.
    pub shape: Shape,
    /// The colour.
    pub colour: Colour,
    /// The size.
    pub size: Size,
    /// The place.
    pub position: Position,
    /// What is behind; captions don't tell.
    pub background: Background,
}

impl Scene {
    /// Every scene there is: 432 combinations of attributes on two backgrounds.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..4 * 6 * 2 * 9 * 2).map(|number: usize| Self {
            shape: Shape::ALL[number % 4],
            colour: Colour::ALL[number / 4 % 6],
            size: Size::ALL[number / 24 % 2],
            position: Position::ALL[number / 48 % 9],
            background: Background::ALL[number / 432],
        })
    }

    /// The split that the scene's shape, colour and position belong to.
    ///
    /// With every attribute as its place in `ALL`: test if `position + 2 colour + 3 shape` is a multiple of ten,
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

    /// A scene of a split, each equally likely.
    pub(super) fn draw(split: Split, draw: &mut Draw) -> Self {
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

    /// The scene with another value for each of the attributes, each other value equally likely.
    pub(super) fn altered(mut self, attributes: &[Attribute], draw: &mut Draw) -> Self {
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

/// Any of the values but this one.
fn other<T: Copy + PartialEq>(value: T, values: &[T], draw: &mut Draw) -> T {
    let others: Vec<T> = values.iter().copied().filter(|other| *other != value).collect();
    draw.choose(&others)
}
