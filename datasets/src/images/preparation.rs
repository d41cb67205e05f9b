//! How a file's picture becomes the square that a model sees: settings, and the geometry they lead to.

use image::RgbImage;

use super::resample::{Filter, Window, resample};

/// What becomes of what is transparent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// It is put on white.
    #[default]
    White,
    /// It is opaque: whatever colour the file has there is seen, as by Pillow's `convert("RGB")`.
    Dropped,
}

/// Which way up a picture is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Orientation {
    /// As its EXIF data say.
    #[default]
    Exif,
    /// As it lies in the file.
    Stored,
}

/// How many pixels the longer side has once the shorter one is scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LongSide {
    /// The nearest whole number.
    #[default]
    Nearest,
    /// The whole number below.
    Down,
}

/// Where the middle square begins if it can't lie exactly in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Middle {
    /// At the pixel before.
    #[default]
    Before,
    /// At the even one of the two pixels, as Python rounds halves.
    Even,
}

/// How pictures are made ready for a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Preparation {
    /// What becomes of what is transparent.
    pub alpha: Alpha,
    /// Which way up a picture is.
    pub orientation: Orientation,
    /// How pixels are weighed when the picture is scaled.
    pub filter: Filter,
    /// How many pixels the longer side has.
    pub long_side: LongSide,
    /// Where the middle square begins.
    pub middle: Middle,
}

impl Preparation {
    /// What the published Diffusion-DPO scripts do: `convert("RGB")`, then torchvision's `Resize` (bilinear) and
    /// `CenterCrop`.
    pub const SCRIPTS: Self = Self {
        alpha: Alpha::Dropped,
        orientation: Orientation::Stored,
        filter: Filter::Bilinear,
        long_side: LongSide::Down,
        middle: Middle::Even,
    };

    /// What transformers' image processor of CLIP does.
    pub const CLIP: Self = Self { filter: Filter::Bicubic, middle: Middle::Before, ..Self::SCRIPTS };

    /// The picture scaled until its shorter side is `size`, and the middle square of that.
    ///
    /// Only what lies in the square is computed, so memory depends on the square and on the picture's shorter side, and
    /// not on how long and thin it is.
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

    /// Where the square begins on a side that has so many pixels too many.
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
