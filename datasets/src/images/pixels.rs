//! An RGB image with values from -1 to 1.

use std::sync::Arc;

use image::RgbImage;

use super::preparation::Preparation;
use crate::error::DatasetError;

/// An RGB image as float values.
///
/// # Shapes
/// The values are in the order height, width, channel (`[height, width, 3]`); bytes 0 to 255 map to -1 to 1. A
/// generated image may exceed that range.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    height: usize,
    width: usize,
    values: Arc<[f32]>,
}

impl Pixels {
    /// Red, green and blue.
    pub const CHANNELS: usize = 3;

    /// Creates an image from its values.
    ///
    /// # Errors
    /// The number of values is not `height * width * 3`, or is 0.
    pub fn new(height: usize, width: usize, values: impl Into<Arc<[f32]>>) -> Result<Self, DatasetError> {
        let values = values.into();
        if values.is_empty() || values.len() != height * width * Self::CHANNELS {
            return Err(DatasetError::PixelCount { height, width, got: values.len() });
        }
        Ok(Self { height, width, values })
    }

    /// Creates an image from a function of row, column and channel.
    pub fn from_fn(height: usize, width: usize, value: impl Fn(usize, usize, usize) -> f32) -> Self {
        let place = |at: usize| (at / Self::CHANNELS / width, at / Self::CHANNELS % width, at % Self::CHANNELS);
        let values = (0..height * width * Self::CHANNELS).map(|at| {
            let (row, column, channel) = place(at);
            value(row, column, channel)
        });
        Self { height, width, values: values.collect() }
    }

    /// Converts an 8-bit image.
    pub fn from_rgb8(image: &RgbImage) -> Self {
        let values = image.as_raw().iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        Self { height: image.height() as usize, width: image.width() as usize, values }
    }

    /// Converts to 8 bits; values are clipped, and NaN becomes black.
    pub fn to_rgb8(&self) -> RgbImage {
        let byte = |channel: usize, row: usize, column: usize| {
            let value = self.values[(row * self.width + column) * Self::CHANNELS + channel];
            ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
        };
        RgbImage::from_fn(self.width as u32, self.height as u32, |column, row| {
            image::Rgb([0, 1, 2].map(|channel| byte(channel, row as usize, column as usize)))
        })
    }

    /// The input of CLIP's image processor: resized (bicubic, 8 bits) until the shorter side is `size`, cropped to the
    /// middle square.
    #[must_use]
    pub fn clip_square(&self, size: usize) -> Self {
        Self::from_rgb8(&Preparation::CLIP.square(&self.to_rgb8(), size))
    }

    /// The horizontally flipped image.
    #[must_use]
    pub fn flipped(&self) -> Self {
        Self::from_fn(self.height, self.width, |row, column, channel| {
            self.values[(row * self.width + self.width - 1 - column) * Self::CHANNELS + channel]
        })
    }

    /// Height.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The values in the order height, width, channel.
    pub fn values(&self) -> &Arc<[f32]> {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_there_and_back() {
        let image = RgbImage::from_fn(16, 16, |x, y| image::Rgb([(y * 16 + x) as u8, x as u8, y as u8]));
        let pixels = Pixels::from_rgb8(&image);
        assert_eq!((pixels.height(), pixels.width(), pixels.values()[0]), (16, 16, -1.0));
        assert_eq!(pixels.to_rgb8(), image);
    }

    #[test]
    fn rows_come_before_columns_before_channels() {
        let pixels = Pixels::from_fn(2, 3, |row, column, channel| (row * 100 + column * 10 + channel) as f32);
        let expected = [0, 1, 2, 10, 11, 12, 20, 21, 22, 100, 101, 102, 110, 111, 112, 120, 121, 122];
        assert_eq!(pixels.values()[..], expected.map(|value| value as f32));
        assert_eq!(pixels.flipped().values()[..6], [20.0, 21.0, 22.0, 10.0, 11.0, 12.0]);
        assert_eq!(pixels.flipped().flipped(), pixels);
    }

    #[test]
    fn a_wrong_number_of_values_and_wild_values_are_no_panic() {
        assert!(Pixels::new(2, 2, vec![0.0; 11]).is_err());
        assert!(Pixels::new(0, 2, vec![]).is_err());
        let wild = Pixels::new(1, 1, vec![f32::NAN, 9.0, -9.0]).unwrap();
        assert_eq!(wild.to_rgb8().into_raw(), [0, 255, 0]);
    }
}
