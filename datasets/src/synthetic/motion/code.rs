//! Latent codes: the shape and its position in one frame.

use super::shape::{Axis, EDGE, Shape};

/// The content of a frame: a shape at a position along one axis, centred along the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// The shape.
    pub shape: Shape,
    /// The axis of motion.
    pub axis: Axis,
    /// Distance of the shape from the left or the top in pixels, below [`Self::POSITIONS`].
    pub position: usize,
}

impl Code {
    /// Height and width of a shape.
    pub const SIZE: usize = 5;
    /// Number of positions along an axis.
    pub const POSITIONS: usize = EDGE - Self::SIZE + 1;
    /// The position along the other axis.
    pub const MIDDLE: usize = (Self::POSITIONS - 1) / 2;
    /// Number of positions that count as the rim, on either side.
    pub const RIM: usize = 3;
    /// Number of codes. In the middle of both axes two of them look the same.
    pub const COUNT: usize = Shape::ALL.len() * Axis::ALL.len() * Self::POSITIONS;
    /// Length of [`Self::vector`].
    pub const WIDTH: usize = Shape::ALL.len() + 2 * EDGE;

    /// Every code, in index order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::of_index)
    }

    /// The index, below [`Self::COUNT`].
    pub fn index(&self) -> usize {
        (self.shape as usize * Axis::ALL.len() + self.axis as usize) * Self::POSITIONS + self.position
    }

    /// The code at an index; `None` beyond the last.
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

    /// Whether the shape is near an end of its axis, where decoders have the most training errors.
    pub fn is_at_rim(&self) -> bool {
        !(Self::RIM..Self::POSITIONS - Self::RIM).contains(&self.position)
    }

    /// The code as a feature vector: the shape one-hot, then for every row and column `exp(-d^2 / 8)` with the distance
    /// `d` in pixels from the shape's middle.
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
