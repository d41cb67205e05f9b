//! Image preparation: settings and geometry of resizing and cropping.

use image::RgbImage;

use super::resample::{Filter, Window, resample};

/// The treatment of transparency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// Composited on white.
    #[default]
    White,
    /// Alpha dropped: the stored colours are used, as in Pillow's `convert("RGB")`.
    Dropped,
}

/// The orientation of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orientation {
    /// By its EXIF data.
    #[default]
    Exif,
    /// As stored.
    Stored,
}

/// Rounding of the longer side after resizing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LongSide {
    /// To the nearest integer.
    #[default]
    Nearest,
    /// Down.
    Down,
}

/// Rounding of the crop's offset if the margin is odd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Middle {
    /// Down.
    #[default]
    Before,
    /// To even, as in Python.
    Even,
}

/// Image preparation settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Preparation {
    /// Transparency.
    pub alpha: Alpha,
    /// Orientation.
    pub orientation: Orientation,
    /// Resampling filter.
    pub filter: Filter,
    /// Rounding of the longer side.
    pub long_side: LongSide,
    /// Rounding of the crop's offset.
    pub middle: Middle,
}

impl Preparation {
    /// The preparation of the published Diffusion-DPO scripts: `convert("RGB")`, then torchvision's `Resize` (bilinear)
    /// and `CenterCrop`.
    pub const SCRIPTS: Self = Self {
        alpha: Alpha::Dropped,
        orientation: Orientation::Stored,
        filter: Filter::Bilinear,
        long_side: LongSide::Down,
        middle: Middle::Even,
    };

    /// The preparation of CLIP's image processor in transformers.
    pub const CLIP: Self = Self { filter: Filter::Bicubic, middle: Middle::Before, ..Self::SCRIPTS };

    /// Resizes until the shorter side is `size` and crops to the middle square.
    ///
    /// Only pixels in the square are computed, so memory depends on the square and the shorter side, not on the aspect
    /// ratio.
    pub(super) fn square(self, image: &RgbImage, size: usize) -> RgbImage {
        let sides = [image.width(), image.height()].map(|side| side as usize);
        let shorter = sides[0].min(sides[1]);
        let scaled = sides.map(|side| match self.long_side {
            LongSide::Nearest => (side * size + shorter / 2) / shorter,
            LongSide::Down => side * size / shorter,
        });
        let window = Window { start: scaled.map(|side| self.begin(side - size)), size: [size; 2] };
        resample(image, scaled, window, self.filter)
    }

    /// The crop's offset on a side with this many excess pixels.
    fn begin(self, excess: usize) -> usize {
        let half = excess / 2;
        match self.middle {
            Middle::Before => half,
            Middle::Even => half + (excess % 2) * (half % 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn halves_are_rounded_as_said() {
        let even = Preparation::SCRIPTS;
        // Python: [int(round(n / 2)) for n in range(8)].
        assert_eq!((0..8).map(|n| even.begin(n)).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 2, 3, 4]);
        let before = Preparation::default();
        assert_eq!((0..8).map(|n| before.begin(n)).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn thin_pictures_become_squares_without_their_length() {
        // Scaled whole, the first would have 30 720 000 x 512 pixels.
        for (width, height) in [(60_000, 1), (1, 60_000), (1, 1), (2, 1_000_000)] {
            let image = RgbImage::from_fn(width, height, |x, y| {
                let at = (x + y) * 3 / width.max(height);
                Rgb([if at == 1 { 255 } else { 0 }, 7, (at * 100) as u8])
            });
            for preparation in [Preparation::default(), Preparation::SCRIPTS, Preparation::CLIP] {
                let square = preparation.square(&image, 512);
                assert_eq!(square.dimensions(), (512, 512));
                let middle = if width.max(height) == 1 { [0, 7, 0] } else { [255, 7, 100] };
                assert_eq!(square.get_pixel(256, 256).0, middle, "{width}x{height}");
            }
        }
    }

    #[test]
    fn a_square_of_the_wanted_size_stays_as_it_is() {
        let image = RgbImage::from_fn(9, 9, |x, y| Rgb([x as u8 * 20, y as u8 * 20, 3]));
        for preparation in [Preparation::default(), Preparation::SCRIPTS] {
            assert_eq!(preparation.square(&image, 9), image);
        }
    }
}
