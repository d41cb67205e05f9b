//! Rendering of codes to clips.

use std::sync::Arc;

use super::code::Code;
use super::shape::{EDGE, FRAMES, Shape};
use crate::images::Pixels;

/// Brightness of a shape, from -1 (black) to 1 (white).
pub(super) const PAINT: f32 = 0.8;
/// Brightness of the background.
pub(super) const GROUND: f32 = -0.8;

/// The pixel mask of each shape.
const MASKS: [[&[u8; Code::SIZE]; Code::SIZE]; 3] = [
    [b" ### ", b"#####", b"#####", b"#####", b" ### "],
    [b"  #  ", b"  #  ", b"#####", b"  #  ", b"  #  "],
    [b"  #  ", b" ### ", b" ### ", b"#####", b"#####"],
];

impl Shape {
    /// Row and column of each of its pixels, relative to its top left corner.
    pub(super) fn pixels(self) -> impl Iterator<Item = (usize, usize)> {
        let places = (0..Code::SIZE).flat_map(|row| (0..Code::SIZE).map(move |column| (row, column)));
        places.filter(move |&(row, column)| MASKS[self as usize][row][column] == b'#')
    }
}

/// Frames of brightness from -1 to 1, stored as channels: the output of a denoiser with [`FRAMES`] channels.
///
/// # Shapes
/// `[EDGE, EDGE, FRAMES]`: rows, columns, frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    values: Arc<[f32]>,
}

impl Clip {
    /// Number of elements.
    pub const SIZE: usize = EDGE * EDGE * FRAMES;

    /// Creates a clip; `None` if the number of elements is not [`Self::SIZE`].
    pub fn new(values: impl Into<Arc<[f32]>>) -> Option<Self> {
        let values = values.into();
        (values.len() == Self::SIZE).then_some(Self { values })
    }

    /// Renders codes.
    pub fn render(codes: &[Code; FRAMES]) -> Self {
        let mut values = vec![GROUND; Self::SIZE];
        for (frame, code) in codes.iter().enumerate() {
            let (top, left) = code.corner();
            for (row, column) in code.shape.pixels() {
                values[((top + row) * EDGE + left + column) * FRAMES + frame] = PAINT;
            }
        }
        Self { values: values.into() }
    }

    /// All elements.
    pub fn values(&self) -> &Arc<[f32]> {
        &self.values
    }

    /// The brightness of a pixel in a frame.
    ///
    /// # Panics
    /// If there is no such frame or pixel.
    pub fn brightness(&self, frame: usize, row: usize, column: usize) -> f32 {
        self.values[(row * EDGE + column) * FRAMES + frame]
    }

    /// A frame as a grey image.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn frame(&self, frame: usize) -> Pixels {
        Pixels::from_fn(EDGE, EDGE, |row, column, _| self.brightness(frame, row, column))
    }
}
