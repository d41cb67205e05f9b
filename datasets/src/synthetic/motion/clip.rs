//! From codes to pixels.

use std::sync::Arc;

use super::code::Code;
use super::scene::Shape;
use crate::images::Pixels;

/// Frames of a clip.
pub const FRAMES: usize = 8;
/// Rows and columns of a frame.
pub const EDGE: usize = 16;

const PAINTS: [[f32; 3]; 3] = [[1.0, 0.1, -0.4], [0.9, 0.9, 1.0], [0.1, 0.9, -0.1]];
/// The colour of whatever nothing is in front of.
pub(super) const GROUND: [f32; 3] = [-0.8, -0.8, -0.4];

/// The pixels of a shape, row by row.
const MASKS: [[&[u8; Code::SIZE]; Code::SIZE]; 3] = [
    [b" ### ", b"#####", b"#####", b"#####", b" ### "],
    [b"  #  ", b"  #  ", b"#####", b"  #  ", b"  #  "],
    [b"  #  ", b" ### ", b" ### ", b"#####", b"#####"],
];

impl Shape {
    /// Its colour: red, green and blue from -1 to 1.
    pub fn paint(self) -> [f32; 3] {
        PAINTS[self as usize]
    }

    /// Row and column of each of its pixels, from its top left corner.
    pub(super) fn pixels(self) -> impl Iterator<Item = (usize, usize)> {
        let places = (0..Code::SIZE).flat_map(|row| (0..Code::SIZE).map(move |column| (row, column)));
        places.filter(move |&(row, column)| MASKS[self as usize][row][column] == b'#')
    }
}

/// Frames of red, green and blue from -1 to 1, side by side in every pixel: what a denoiser of
/// [`Clip::CHANNELS`] channels draws.
///
/// # Shapes
/// `[EDGE, EDGE, FRAMES, 3]`: rows, columns, frames, colours.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    values: Arc<[f32]>,
}

impl Clip {
    /// Numbers of a pixel: red, green and blue of every frame.
    pub const CHANNELS: usize = FRAMES * Pixels::CHANNELS;
    /// Numbers in all.
    pub const SIZE: usize = EDGE * EDGE * Self::CHANNELS;

    /// The clip of these numbers; `None` if they are not [`Self::SIZE`] of them.
    pub fn new(values: impl Into<Arc<[f32]>>) -> Option<Self> {
        let values = values.into();
        (values.len() == Self::SIZE).then_some(Self { values })
    }

    /// Draws what codes say.
    pub fn render(codes: &[Code; FRAMES]) -> Self {
        let mut values: Vec<f32> = (0..Self::SIZE).map(|at| GROUND[at % 3]).collect();
        for (frame, code) in codes.iter().enumerate() {
            let (top, left) = code.corner();
            for (row, column) in code.shape.pixels() {
                let at = ((top + row) * EDGE + left + column) * Self::CHANNELS + frame * 3;
                values[at..at + 3].copy_from_slice(&code.shape.paint());
            }
        }
        Self { values: values.into() }
    }

    /// All numbers.
    pub fn values(&self) -> &Arc<[f32]> {
        &self.values
    }

    /// The colour of a pixel in a frame.
    pub fn colour(&self, frame: usize, row: usize, column: usize) -> [f32; 3] {
        let at = (row * EDGE + column) * Self::CHANNELS + frame * 3;
        [self.values[at], self.values[at + 1], self.values[at + 2]]
    }

    /// A frame as a picture.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn frame(&self, frame: usize) -> Pixels {
        Pixels::from_fn(EDGE, EDGE, |row, column, channel| self.colour(frame, row, column)[channel])
    }
}
