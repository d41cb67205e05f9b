//! The squares of pixels that a convolution reads, and those that it makes of them.

use super::super::taps::NOTHING;
use super::PLACES;

/// Two by two pixels of the result and the four by four pixels that they are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Square {
    /// The pixels that are read, line by line; [`NOTHING`] outside the image.
    pub(super) from: [u32; PLACES],
    /// The pixels that are made, line by line; [`NOTHING`] outside the image.
    pub(super) to: [u32; 4],
}

/// The squares of all images, each pixel of the result in exactly one.
#[derive(Debug)]
pub(super) struct Tiles {
    pub(super) squares: Vec<Square>,
    /// Pixels of all images that are read.
    pub(super) n_from: usize,
    /// Pixels of all images that are made.
    pub(super) n_to: usize,
}

impl Tiles {
    /// For images of a height and width, and their results; `padding` is above and to the left.
    ///
    /// # Panics
    ///
    /// If there are more pixels than `u32` can count.
    pub(super) fn new(images: usize, from: [usize; 2], to: [usize; 2], padding: [usize; 2]) -> Self {
        let all = |[height, width]: [usize; 2]| images.checked_mul(height).and_then(|rows| rows.checked_mul(width));
        let (n_from, n_to) = (all(from).unwrap_or(usize::MAX), all(to).unwrap_or(usize::MAX));
        assert!(n_from.max(n_to) < NOTHING as usize, "more pixels than can be counted");
        let mut squares = Vec::with_capacity(images * to[0].div_ceil(2) * to[1].div_ceil(2));
        for image in 0..images {
            for line in (0..to[0]).step_by(2) {
                for column in (0..to[1]).step_by(2) {
                    let pixel = |size: [usize; 2], line: Option<usize>, column: Option<usize>| {
                        let inside = line.zip(column).filter(|&(line, column)| line < size[0] && column < size[1]);
                        inside.map_or(NOTHING, |(line, column)| ((image * size[0] + line) * size[1] + column) as u32)
                    };
                    let read = |place: usize| {
                        let line = (line + place / 4).checked_sub(padding[0]);
                        pixel(from, line, (column + place % 4).checked_sub(padding[1]))
                    };
                    let made = |place: usize| pixel(to, Some(line + place / 2), Some(column + place % 2));
                    let square = Square { from: std::array::from_fn(read), to: std::array::from_fn(made) };
                    squares.push(square);
                }
            }
        }
        Self { squares, n_from, n_to }
    }
}
