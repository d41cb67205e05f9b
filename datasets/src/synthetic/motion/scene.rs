//! Directions, speeds and motions.

use super::code::Code;
use super::shape::{Axis, FRAMES, Shape};
use crate::synthetic::draw::RandomDraws;

/// The direction of motion.
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

/// The speed of motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speed {
    /// Half a pixel a frame.
    Slow,
    /// One and a half.
    Fast,
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Up, Self::Down];

    /// The word in requests.
    pub fn word(self) -> &'static str {
        ["left", "right", "up", "down"][self as usize]
    }

    /// The axis of the direction.
    pub fn axis(self) -> Axis {
        match self {
            Self::Left | Self::Right => Axis::Horizontal,
            Self::Up | Self::Down => Axis::Vertical,
        }
    }

    /// The opposite direction.
    #[must_use]
    pub fn turned(self) -> Self {
        [Self::Right, Self::Left, Self::Down, Self::Up][self as usize]
    }

    /// Whether positions increase: rows are counted downwards.
    pub fn is_forward(self) -> bool {
        matches!(self, Self::Right | Self::Down)
    }
}

impl Speed {
    /// Both speeds.
    pub const ALL: [Self; 2] = [Self::Slow, Self::Fast];

    /// Pixels per frame.
    pub fn pixels(self) -> f64 {
        [0.5, 1.5][self as usize]
    }

    /// Distance travelled by a frame, in whole pixels.
    pub fn travelled(self, frame: usize) -> usize {
        frame * [1, 3][self as usize] / 2
    }

    /// Number of start positions from which a motion stays inside the frame.
    pub fn n_starts(self) -> usize {
        Code::POSITIONS - self.travelled(FRAMES - 1)
    }
}

/// The motion that a request asks for: the three attributes scored by the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The shape.
    pub shape: Shape,
    /// The direction.
    pub direction: Direction,
    /// The speed.
    pub speed: Speed,
}

impl Wanted {
    /// Every combination.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_direction = |shape| Direction::ALL.into_iter().map(move |direction| (shape, direction));
        let of_shape = Shape::ALL.into_iter().flat_map(of_direction);
        of_shape.flat_map(|(shape, direction)| Speed::ALL.map(|speed| Self { shape, direction, speed }))
    }

    /// The share of shape, direction and speed that a motion has right: the score of its clip by
    /// [`super::Oracle::score`].
    pub fn share(&self, shown: &Motion) -> f64 {
        let (own, shown) = (*self, shown.wanted);
        let right = [own.shape == shown.shape, own.direction == shown.direction, own.speed == shown.speed];
        right.into_iter().filter(|is_right| *is_right).count() as f64 / 3.0
    }

    /// Changes one of the three attributes, drawn uniformly.
    pub(super) fn altered(self, draw: &mut RandomDraws) -> Self {
        match draw.below(3) {
            0 => self.with_another_shape(draw),
            1 => Self { direction: other(&Direction::ALL, self.direction, draw), ..self },
            _ => Self { speed: other(&Speed::ALL, self.speed, draw), ..self },
        }
    }

    pub(super) fn with_another_shape(self, draw: &mut RandomDraws) -> Self {
        Self { shape: other(&Shape::ALL, self.shape, draw), ..self }
    }
}

fn other<T: Copy + PartialEq>(all: &[T], own: T, draw: &mut RandomDraws) -> T {
    let others: Vec<T> = all.iter().copied().filter(|item| *item != own).collect();
    draw.choose(&others)
}

/// A motion with its start position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Motion {
    /// Shape, direction and speed.
    pub wanted: Wanted,
    /// Distance of the start from the side that the motion begins at, in pixels, below [`Speed::n_starts`].
    pub start: usize,
}

impl Motion {
    /// Every motion.
    pub fn all() -> impl Iterator<Item = Self> {
        Wanted::all().flat_map(|wanted| (0..wanted.speed.n_starts()).map(move |start| Self { wanted, start }))
    }

    /// Draws a start position uniformly.
    pub(super) fn draw(wanted: Wanted, draw: &mut RandomDraws) -> Self {
        Self { wanted, start: draw.below(wanted.speed.n_starts()) }
    }

    /// The codes of the frames.
    pub fn codes(&self) -> [Code; FRAMES] {
        let Wanted { shape, direction, speed } = self.wanted;
        std::array::from_fn(|frame| {
            let travelled = self.start + speed.travelled(frame);
            let position = if direction.is_forward() { travelled } else { Code::POSITIONS - 1 - travelled };
            Code { shape, axis: direction.axis(), position }
        })
    }
}
