//! Scenes: the attributes of images.

use super::Split;
use crate::synthetic::draw::RandomDraws;

/// A creature's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Head {
    /// A face with long hair.
    Human,
    /// Seen from the front, with horns to both sides.
    Bull,
    /// A hooked beak.
    Eagle,
    /// A beard and a bent horn.
    Goat,
    /// A long snout and upright ears.
    Jackal,
    /// A trunk and large ears.
    Elephant,
}

impl Head {
    /// Every head.
    pub const ALL: [Self; 6] = [Self::Human, Self::Bull, Self::Eagle, Self::Goat, Self::Jackal, Self::Elephant];

    /// The word in texts; no body has the same.
    pub fn word(self) -> &'static str {
        ["human", "bull", "eagle", "goat", "jackal", "elephant"][self as usize]
    }
}

/// A creature's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Body {
    /// Upright on two legs, with arms.
    Man,
    /// On four long legs.
    Horse,
    /// On four short legs, with a tuft on its tail.
    Lion,
    /// A tail that ends in a fin.
    Fish,
    /// One coil.
    Snake,
    /// Wings and two thin legs.
    Bird,
}

impl Body {
    /// Every body.
    pub const ALL: [Self; 6] = [Self::Man, Self::Horse, Self::Lion, Self::Fish, Self::Snake, Self::Bird];

    /// The word in texts; no head has the same.
    pub fn word(self) -> &'static str {
        ["man", "horse", "lion", "fish", "snake", "bird"][self as usize]
    }
}

/// The creature's colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Colour {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Black.
    Black,
}

impl Colour {
    /// Every colour.
    pub const ALL: [Self; 4] = [Self::Red, Self::Green, Self::Blue, Self::Black];

    /// The word in texts; no field has the same.
    pub fn word(self) -> &'static str {
        ["red", "green", "blue", "black"][self as usize]
    }

    /// The RGB values, from -1 to 1; any two colours are at least 1 apart.
    pub fn values(self) -> [f32; 3] {
        [[0.6, -0.8, -0.8], [-0.8, 0.1, -0.8], [-0.75, -0.7, 0.7], [-0.9, -0.9, -0.8]][self as usize]
    }
}

/// The background: light, whereas creatures are dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// White.
    White,
    /// Yellow.
    Yellow,
    /// Pink.
    Pink,
    /// Cyan.
    Cyan,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 4] = [Self::White, Self::Yellow, Self::Pink, Self::Cyan];

    /// The word in texts; no creature's colour has the same.
    pub fn word(self) -> &'static str {
        ["white", "yellow", "pink", "cyan"][self as usize]
    }

    /// The RGB values, from -1 to 1; any two fields are at least 1 apart.
    pub fn values(self) -> [f32; 3] {
        [[0.9, 0.9, 0.9], [0.95, 0.7, -0.4], [0.95, 0.05, 0.4], [-0.2, 0.6, 0.9]][self as usize]
    }
}

/// An attribute of texts and images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// [`Head`].
    Head,
    /// [`Body`].
    Body,
    /// [`Colour`].
    Colour,
    /// [`Field`].
    Field,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 4] = [Self::Head, Self::Body, Self::Colour, Self::Field];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        ["head", "body", "colour", "field"][self as usize]
    }
}

/// The attributes of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scene {
    /// The creature's head.
    pub head: Head,
    /// The creature's body.
    pub body: Body,
    /// The creature's colour.
    pub colour: Colour,
    /// The background.
    pub field: Field,
}

impl Scene {
    /// All 576 scenes.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..6 * 6 * 4 * 4).map(|number: usize| Self {
            head: Head::ALL[number % 6],
            body: Body::ALL[number / 6 % 6],
            colour: Colour::ALL[number / 36 % 4],
            field: Field::ALL[number / 144],
        })
    }

    /// The split of the scene.
    ///
    /// With every attribute as its index in `ALL`: test if `head + body + 2 colour + 3 field` is a multiple of ten,
    /// validation if it is five more than one, training otherwise.
    pub fn split(&self) -> Split {
        match (self.head as usize + self.body as usize + 2 * self.colour as usize + 3 * self.field as usize) % 10 {
            0 => Split::Test,
            5 => Split::Validation,
            _ => Split::Train,
        }
    }

    /// The attributes in which two scenes differ, in the order of [`Attribute::ALL`].
    pub fn differing(&self, other: &Self) -> Vec<Attribute> {
        let differ = |attribute: &Attribute| match attribute {
            Attribute::Head => self.head != other.head,
            Attribute::Body => self.body != other.body,
            Attribute::Colour => self.colour != other.colour,
            Attribute::Field => self.field != other.field,
        };
        Attribute::ALL.into_iter().filter(differ).collect()
    }

    /// Draws a scene uniformly.
    pub(super) fn any(draw: &mut RandomDraws) -> Self {
        Self {
            head: draw.choose(&Head::ALL),
            body: draw.choose(&Body::ALL),
            colour: draw.choose(&Colour::ALL),
            field: draw.choose(&Field::ALL),
        }
    }

    /// Changes each of the attributes to another value, drawn uniformly.
    pub(super) fn altered(mut self, attributes: &[Attribute], draw: &mut RandomDraws) -> Self {
        for attribute in attributes {
            match attribute {
                Attribute::Head => self.head = other(self.head, &Head::ALL, draw),
                Attribute::Body => self.body = other(self.body, &Body::ALL, draw),
                Attribute::Colour => self.colour = other(self.colour, &Colour::ALL, draw),
                Attribute::Field => self.field = other(self.field, &Field::ALL, draw),
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
