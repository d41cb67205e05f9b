//! What can be asked for and shown.

use super::clip::FRAMES;
use super::code::Code;
use crate::synthetic::draw::Draw;

/// What moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A filled circle.
    Circle,
    /// A cross.
    Cross,
    /// A triangle that points up.
    Triangle,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the left.
    Left,
    /// To the right.
    Right,
    /// Up.
    Up,
    /// Down.
    Down,
}

/// Along what it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Left and right.
    Horizontal,
    /// Up and down.
    Vertical,
}

/// How fast it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speed {
    /// Half a pixel a frame.
    Slow,
    /// One and a half.
    Fast,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Circle, Self::Cross, Self::Triangle];

    /// Its word in requests.
    pub fn word(self) -> &'static str {
        ["circle", "cross", "triangle"][self as usize]
    }
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Up, Self::Down];

    /// Its word in requests.
    pub fn word(self) -> &'static str {
        ["left", "right", "up", "down"][self as usize]
    }

    /// Along what it leads.
    pub fn axis(self) -> Axis {
        match self {
            Self::Left | Self::Right => Axis::Horizontal,
            Self::Up | Self::Down => Axis::Vertical,
        }
    }

    /// The other way.
    #[must_use]
    pub fn turned(self) -> Self {
        [Self::Right, Self::Left, Self::Down, Self::Up][self as usize]
    }

    /// Whether positions grow on the way: rows are counted downwards.
    pub fn is_forward(self) -> bool {
        matches!(self, Self::Right | Self::Down)
    }
}

impl Axis {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Horizontal, Self::Vertical];
}

impl Speed {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Slow, Self::Fast];

    /// Pixels a frame.
    pub fn pixels(self) -> f64 {
        [0.5, 1.5][self as usize]
    }

    /// How far it has come by a frame, in whole pixels.
    pub fn travelled(self, frame: usize) -> usize {
        frame * [1, 3][self as usize] / 2
    }

    /// How many places a motion of this speed can start from and stay inside the frame.
    pub fn n_starts(self) -> usize {
        Code::POSITIONS - self.travelled(FRAMES - 1)
    }
}

/// What a request wants to see: the three things that the oracle looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// What moves.
    pub shape: Shape,
    /// Where it goes.
    pub direction: Direction,
    /// How fast.
    pub speed: Speed,
}

impl Wanted {
    /// Every combination.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_direction = |shape| Direction::ALL.into_iter().map(move |direction| (shape, direction));
        let of_shape = Shape::ALL.into_iter().flat_map(of_direction);
        of_shape.flat_map(|(shape, direction)| Speed::ALL.map(|speed| Self { shape, direction, speed }))
    }

    /// The share of shape, direction and speed that a motion has right: what [`super::Oracle::score`] makes of its clip.
    pub fn share(&self, shown: &Motion) -> f64 {
        let (own, shown) = (*self, shown.wanted);
        let right = [own.shape == shown.shape, own.direction == shown.direction, own.speed == shown.speed];
        right.into_iter().filter(|is_right| *is_right).count() as f64 / 3.0
    }

    /// The same with one of the three changed, each alike.
    pub(super) fn altered(self, draw: &mut Draw) -> Self {
        match draw.below(3) {
            0 => self.with_another_shape(draw),
            1 => Self { direction: other(&Direction::ALL, self.direction, draw), ..self },
            _ => Self { speed: other(&Speed::ALL, self.speed, draw), ..self },
        }
    }

    pub(super) fn with_another_shape(self, draw: &mut Draw) -> Self {
        Self { shape: other(&Shape::ALL, self.shape, draw), ..self }
    }
}

fn other<T: Copy + PartialEq>(all: &[T], own: T, draw: &mut Draw) -> T {
    let others: Vec<T> = all.iter().copied().filter(|item| *item != own).collect();
    draw.choose(&others)
}

/// A motion: what was wanted, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Motion {
    /// Shape, direction and speed.
    pub wanted: Wanted,
    /// How many pixels from the side that it comes from, below [`Speed::n_starts`].
    pub start: usize,
}

impl Motion {
    /// Every motion.
    pub fn all() -> impl Iterator<Item = Self> {
        Wanted::all().flat_map(|wanted| (0..wanted.speed.n_starts()).map(move |start| Self { wanted, start }))
    }

    /// A motion from anywhere.
    pub(super) fn draw(wanted: Wanted, draw: &mut Draw) -> Self {
        Self { wanted, start: draw.below(wanted.speed.n_starts()) }
    }

    /// The codes of its frames.
    pub fn codes(&self) -> [Code; FRAMES] {
        let Wanted { shape, direction, speed } = self.wanted;
        std::array::from_fn(|frame| {
            let travelled = self.start + speed.travelled(frame);
            let position = if direction.is_forward() { travelled } else { Code::POSITIONS - 1 - travelled };
            Code { shape, axis: direction.axis(), position }
        })
    }
}
