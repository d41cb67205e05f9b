//! The shape of a batch of images whose pixels are rows.

use candle_core::{Result, Tensor, bail};

/// The shape of a batch of images stored as a matrix with one row per pixel (NHWC order): image by image, top to
/// bottom, left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// The number of images.
    pub images: usize,
    /// The height of each, in pixels.
    pub height: usize,
    /// The width of each, in pixels.
    pub width: usize,
}

impl Grid {
    /// Pixels of one image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Pixels of all images: the number of rows.
    pub fn rows(&self) -> usize {
        self.images * self.pixels()
    }

    /// The grid of the same images at twice the height and width.
    #[must_use]
    pub fn doubled(self) -> Self {
        Self { height: 2 * self.height, width: 2 * self.width, ..self }
    }

    /// The number of channels of `x`, a matrix with a row per pixel.
    ///
    /// # Errors
    ///
    /// `x` is no such matrix.
    pub(super) fn channels(&self, what: &str, x: &Tensor) -> Result<usize> {
        match *x.dims() {
            [rows, channels] if rows == self.rows() => Ok(channels),
            _ => bail!("{what} of {:?} as {self:?}", x.dims()),
        }
    }
}
