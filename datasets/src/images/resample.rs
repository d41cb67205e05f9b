//! Resampling with Pillow's filters, bit for bit, restricted to a window.
//!
//! Each value is a weighted mean along rows, then along columns, both rounded to bytes. Weights are fixed-point numbers
//! with 22 fractional bits.

use std::f64::consts::PI;
use std::ops::Range;

use image::RgbImage;

/// Resampling filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A windowed sinc with support 3: sharp.
    #[default]
    Lanczos,
    /// A cubic with support 2.
    Bicubic,
    /// A triangle with support 1.
    Bilinear,
}

impl Filter {
    /// The support, in pixels of the coarser image.
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    /// The weight at a distance.
    fn weight(self, distance: f64) -> f64 {
        let x = distance.abs();
        match self {
            Self::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            // Keys' cubic with a = -1/2.
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Lanczos | Self::Bicubic | Self::Bilinear => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// A window of an image: offset and size, columns before rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: [usize; 2],
    pub(super) size: [usize; 2],
}

/// Red, green and blue.
const CHANNELS: usize = 3;

/// Number of fractional bits of a weight.
const PLACES: u32 = 22;

/// The initial value of a sum, for rounding.
///
/// Weights add up to 1, and the positive ones to less than 1.3 (Lanczos at a border), so sums fit in 32 bits.
const HALF: i32 = 1 << (PLACES - 1);

/// Resizes to `scaled` columns and rows, and returns a window.
pub(super) fn resample(image: &RgbImage, scaled: [usize; 2], window: Window, filter: Filter) -> RgbImage {
    let source = [image.width(), image.height()].map(|side| side as usize);
    let [columns, rows] = [0, 1].map(|axis| {
        let wanted = window.start[axis]..window.start[axis] + window.size[axis];
        weighed(source[axis], scaled[axis], wanted, filter)
    });
    let line = source[0] * CHANNELS;
    // Which way goes first shows in the rounding. Pillow begins with the columns of most tall pictures that become shorter;
    // of some it does not, and their levels differ (by one with the triangle, by more where a sharper filter overshoots).
    let bytes = if source[1] > 2 * source[0] && scaled[1] < source[1] {
        along_rows(&along_columns(image.as_raw(), line, &rows, 0), line, &columns)
    } else {
        let first_row = rows.iter().map(|mean| mean.first).min().unwrap_or_default();
        let last_row = rows.iter().map(|mean| mean.first + mean.weights.len()).max().unwrap_or_default();
        let narrow = along_rows(&image.as_raw()[first_row * line..last_row * line], line, &columns);
        along_columns(&narrow, columns.len() * CHANNELS, &rows, first_row)
    };
    RgbImage::from_raw(window.size[0] as u32, window.size[1] as u32, bytes).unwrap_or_default()
}

/// Weights of neighbouring pixels, and the index of the first.
struct Mean {
    first: usize,
    weights: Vec<i32>,
}

/// The byte of a weighted sum that started at [`HALF`].
fn to_byte(sum: i32) -> u8 {
    (sum >> PLACES).clamp(0, 255) as u8
}

/// The weights for each output pixel of one dimension.
fn weighed(source: usize, scaled: usize, wanted: Range<usize>, filter: Filter) -> Vec<Mean> {
    if source == scaled {
        return wanted.map(|first| Mean { first, weights: vec![1 << PLACES] }).collect();
    }
    let scale = source as f64 / scaled as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let mean = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(source);
        let weights: Vec<f64> =
            (first..end).map(|i| filter.weight((i as f64 - centre + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = weights.iter().sum();
        let whole = |weight: &f64| (weight / total * f64::from(1 << PLACES)).round() as i32;
        Mean { first, weights: weights.iter().map(whole).collect() }
    };
    wanted.map(mean).collect()
}

/// Resamples every row of `line` bytes.
fn along_rows(bytes: &[u8], line: usize, columns: &[Mean]) -> Vec<u8> {
    let mut narrow = Vec::with_capacity(bytes.len() / line * columns.len() * CHANNELS);
    for row in bytes.chunks_exact(line) {
        for Mean { first, weights } in columns {
            let mut sums = [HALF; CHANNELS];
            for (pixel, weight) in row[first * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &byte)| *sum += i32::from(byte) * weight);
            }
            narrow.extend(sums.map(to_byte));
        }
    }
    narrow
}

/// Resamples columns to the wanted rows, from rows of `line` bytes starting at `first_row`.
fn along_columns(bytes: &[u8], line: usize, rows: &[Mean], first_row: usize) -> Vec<u8> {
    let mut scaled = Vec::with_capacity(rows.len() * line);
    let mut sums = vec![HALF; line];
    for Mean { first, weights } in rows {
        sums.fill(HALF);
        for (row, weight) in bytes[(first - first_row) * line..].chunks_exact(line).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &byte)| *sum += i32::from(byte) * weight);
        }
        scaled.extend(sums.iter().map(|&sum| to_byte(sum)));
    }
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTERS: [Filter; 3] = [Filter::Lanczos, Filter::Bicubic, Filter::Bilinear];

    #[test]
    fn white_stays_white_at_every_ratio() {
        for filter in FILTERS {
            for (source, scaled) in [(1, 1), (1, 700), (7, 8), (8, 7), (100, 1), (999, 10), (3, 1000)] {
                let image = RgbImage::from_pixel(source as u32, 2, image::Rgb([255; 3]));
                let whole = Window { start: [0; 2], size: [scaled, 2] };
                let found = resample(&image, [scaled, 2], whole, filter);
                assert!(found.as_raw().iter().all(|&byte| byte == 255), "{filter:?}, {source} to {scaled}");
            }
        }
    }

    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let image = RgbImage::from_fn(37, 23, |x, y| image::Rgb([(x * y % 256) as u8, (x * 7) as u8, (y * 11) as u8]));
        for filter in FILTERS {
            let whole = resample(&image, [50, 31], Window { start: [0; 2], size: [50, 31] }, filter);
            let part = resample(&image, [50, 31], Window { start: [13, 4], size: [20, 9] }, filter);
            for (x, y, pixel) in part.enumerate_pixels() {
                assert_eq!(pixel, whole.get_pixel(x + 13, y + 4), "{filter:?} {x} {y}");
            }
        }
    }

    #[test]
    fn two_pixels_become_four_as_by_hand() {
        // Centres at .25, .75, 1.25, 1.75 of pixels at .5 and 1.5: weights 1, 3/4 and 1/4, 1/4 and 3/4, 1.
        let image = RgbImage::from_fn(2, 1, |x, _| image::Rgb([x as u8 * 200; 3]));
        let found = resample(&image, [4, 1], Window { start: [0; 2], size: [4, 1] }, Filter::Bilinear);
        assert_eq!(found.as_raw().iter().step_by(3).copied().collect::<Vec<u8>>(), [0, 50, 150, 200]);
    }
}
