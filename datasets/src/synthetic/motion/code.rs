//! The latent codes: what is to be seen where in one frame.

use super::clip::EDGE;
use super::scene::{Axis, Shape};

/// What is to be seen in a frame: a shape, so many pixels along an axis, in the middle of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// What.
    pub shape: Shape,
    /// Along what it moves.
    pub axis: Axis,
    /// How many pixels the shape is from the left or from the top, below [`Self::POSITIONS`].
    pub position: usize,
}

impl Code {
    /// Rows and columns of a shape.
    pub const SIZE: usize = 5;
    /// Places along an axis.
    pub const POSITIONS: usize = EDGE - Self::SIZE + 1;
    /// Where a shape is along the axis that it does not move along.
    pub const MIDDLE: usize = (Self::POSITIONS - 1) / 2;
    /// Positions that count as the rim, on either side.
    pub const RIM: usize = 3;
    /// How many codes there are. In the middle of both axes two of them look the same.
    pub const COUNT: usize = Shape::ALL.len() * Axis::ALL.len() * Self::POSITIONS;
    /// Numbers of [`Self::vector`].
    pub const WIDTH: usize = Shape::ALL.len() + 2 * EDGE;

    /// Every code, by its index.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::of_index)
    }

    /// The code's number, below [`Self::COUNT`].
    pub fn index(&self) -> usize {
        (self.shape as usize * Axis::ALL.len() + self.axis as usize) * Self::POSITIONS + self.position
    }

    /// The code of a number; `None` for one beyond the last.
    pub fn of_index(index: usize) -> Option<Self> {
        let (kind, position) = (index / Self::POSITIONS, index % Self::POSITIONS);
        let shape = *Shape::ALL.get(kind / Axis::ALL.len())?;
        Some(Self { shape, axis: Axis::ALL[kind % Axis::ALL.len()], position })
    }

    /// Row and column of the shape's top left pixel.
    pub fn corner(&self) -> (usize, usize) {
        match self.axis {
            Axis::Horizontal => (Self::MIDDLE, self.position),
            Axis::Vertical => (self.position, Self::MIDDLE),
        }
    }

    /// Whether the shape is near the side that it comes from or goes to, where decoders are taught worst.
    pub fn is_at_rim(&self) -> bool {
        !(Self::RIM..Self::POSITIONS - Self::RIM).contains(&self.position)
    }

    /// The code as numbers: which shape it is, one in as many as there are, then for every row and for every column how
    /// near it is to the shape's middle: `exp(-d^2 / 8)` at a distance of `d` pixels.
    pub fn vector(&self) -> [f32; Self::WIDTH] {
        let (row, column) = self.corner();
        let near = |pixel: usize, corner: usize| {
            let distance = pixel as f32 - (corner + Self::SIZE / 2) as f32;
            (-distance * distance / 8.0).exp()
        };
        let n_shapes = Shape::ALL.len();
        std::array::from_fn(|at| match at.checked_sub(n_shapes) {
            None => f32::from(u8::from(at == self.shape as usize)),
            Some(at) if at < EDGE => near(at, row),
            Some(at) => near(at - EDGE, column),
        })
    }
}
