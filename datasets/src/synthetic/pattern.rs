//! Pictures explained by one pattern, one paint and one ground.

use crate::images::Pixels;

/// How much of each pixel something covers, 0 to 1, ready to be compared with pictures.
pub(super) struct Pattern {
    /// How much of each pixel is covered, less the mean.
    centred: Vec<f32>,
    /// The mean that was taken off.
    mean: f32,
    /// The sum of squares of `centred`.
    square: f32,
}

/// A picture as it is read: clipped to the values that a file holds.
pub(super) struct Picture {
    values: Vec<f32>,
    /// The mean colour.
    mean: [f32; 3],
    /// The sum of squares around the mean.
    variation: f32,
}

/// The pattern that explains most of a picture.
pub(super) struct Explained<T> {
    /// What the pattern stands for.
    pub(super) what: T,
    /// The colour of what is covered.
    pub(super) paint: [f32; 3],
    /// The colour of the rest.
    pub(super) ground: [f32; 3],
    /// The share of the picture's variation that is explained, 0 to 1.
    pub(super) confidence: f64,
    /// The root mean square, over all values, of what is not explained.
    pub(super) residual: f64,
}

/// What is left of a picture when it is explained by one pattern.
struct Fit {
    /// The sum of squares that the pattern explains.
    explained: f32,
    paint: [f32; 3],
    ground: [f32; 3],
}

impl Pattern {
    /// The pattern of what covers this much of each pixel, row by row.
    pub(super) fn new(covered: &[f32]) -> Self {
        let mean = covered.iter().sum::<f32>() / covered.len() as f32;
        let centred: Vec<f32> = covered.iter().map(|covered| covered - mean).collect();
        let square = centred.iter().map(|value| value * value).sum();
        Self { centred, mean, square }
    }

    /// Fits paint and ground by least squares.
    fn fit(&self, picture: &Picture) -> Fit {
        let mut product = [0.0_f32; 3];
        for (covered, colour) in self.centred.iter().zip(picture.values.chunks_exact(Pixels::CHANNELS)) {
            for (product, value) in product.iter_mut().zip(colour) {
                *product += covered * value;
            }
        }
        let slopes = product.map(|product| product / self.square);
        let ground = [0, 1, 2].map(|channel| picture.mean[channel] - slopes[channel] * self.mean);
        Fit {
            explained: product.iter().map(|product| product * product / self.square).sum(),
            paint: [0, 1, 2].map(|channel| ground[channel] + slopes[channel]),
            ground,
        }
    }
}

impl Picture {
    /// A picture of `edge` rows and columns; nothing if it is of another size, or has values that are no numbers.
    pub(super) fn of(pixels: &Pixels, edge: usize) -> Option<Self> {
        let values: Vec<f32> = pixels.values().iter().map(|value| value.clamp(-1.0, 1.0)).collect();
        if (pixels.height(), pixels.width()) != (edge, edge) || values.iter().any(|value| value.is_nan()) {
            return None;
        }
        let mut mean = [0.0_f32; 3];
        for colour in values.chunks_exact(Pixels::CHANNELS) {
            for (mean, value) in mean.iter_mut().zip(colour) {
                *mean += value / (edge * edge) as f32;
            }
        }
        let variation = values.iter().enumerate().map(|(at, value)| (value - mean[at % 3]).powi(2)).sum();
        Some(Self { values, mean, variation })
    }

    /// The pattern that explains most of it.
    pub(super) fn explain<'p, T>(&self, patterns: impl Iterator<Item = (T, &'p Pattern)>) -> Option<Explained<T>> {
        let fits = patterns.map(|(what, pattern)| (what, pattern.fit(self)));
        let (what, fit) = fits.max_by(|(_, first), (_, second)| first.explained.total_cmp(&second.explained))?;
        let variation = self.variation;
        let confidence = if variation > 0.0 { f64::from(fit.explained / variation).clamp(0.0, 1.0) } else { 0.0 };
        let residual = f64::from((variation - fit.explained).max(0.0) / self.values.len() as f32).sqrt();
        Some(Explained { what, paint: fit.paint, ground: fit.ground, confidence, residual })
    }

    /// The root mean square, over all values, of what differs from the mean colour.
    pub(super) fn spread(&self) -> f64 {
        f64::from(self.variation / self.values.len() as f32).sqrt()
    }
}

/// The name of the nearest colour, if it is no further than `limit`.
pub(super) fn nearest<T: Copy>(found: [f32; 3], named: &[(T, [f32; 3])], limit: f32) -> Option<T> {
    let distances = named.iter().map(|&(name, values)| (name, distance(found, values)));
    let (name, apart) = distances.min_by(|(_, first), (_, second)| first.total_cmp(second))?;
    (apart <= limit).then_some(name)
}

/// How far apart two colours are in RGB.
pub(super) fn distance(first: [f32; 3], second: [f32; 3]) -> f32 {
    first.iter().zip(second).map(|(first, second)| (first - second).powi(2)).sum::<f32>().sqrt()
}
