//! Least-squares fit of an image by a pattern in two colours.

use crate::images::Pixels;

/// A coverage mask with values 0 to 1, prepared for comparison with images.
pub(super) struct Pattern {
    /// The mask minus its mean.
    centred: Vec<f32>,
    /// The mean.
    mean: f32,
    /// The sum of squares of `centred`.
    square: f32,
}

/// An image prepared for fitting, clipped to the range of a file.
pub(super) struct Picture {
    values: Vec<f32>,
    /// The mean colour.
    mean: [f32; 3],
    /// The sum of squared deviations from the mean.
    variation: f32,
}

/// The best-fitting pattern of an image.
pub(super) struct Explained<T> {
    /// The pattern's identity.
    pub(super) what: T,
    /// The foreground colour.
    pub(super) paint: [f32; 3],
    /// The background colour.
    pub(super) ground: [f32; 3],
    /// The explained share of the image's variance, 0 to 1.
    pub(super) confidence: f64,
    /// The root mean square residual over all values.
    pub(super) residual: f64,
}

/// The fit of one pattern.
struct Fit {
    /// The explained sum of squares.
    explained: f32,
    paint: [f32; 3],
    ground: [f32; 3],
}

impl Pattern {
    /// Creates a pattern from its coverage in row-major order.
    pub(super) fn new(covered: &[f32]) -> Self {
        let mean = covered.iter().sum::<f32>() / covered.len() as f32;
        let centred: Vec<f32> = covered.iter().map(|covered| covered - mean).collect();
        let square = centred.iter().map(|value| value * value).sum();
        Self { centred, mean, square }
    }

    /// Fits both colours by least squares.
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
    /// An image of `edge` x `edge` pixels; `None` for another size or non-finite values.
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

    /// The pattern that explains most of the image.
    pub(super) fn explain<'p, T>(&self, patterns: impl Iterator<Item = (T, &'p Pattern)>) -> Option<Explained<T>> {
        let fits = patterns.map(|(what, pattern)| (what, pattern.fit(self)));
        let (what, fit) = fits.max_by(|(_, first), (_, second)| first.explained.total_cmp(&second.explained))?;
        let variation = self.variation;
        let confidence = if variation > 0.0 { f64::from(fit.explained / variation).clamp(0.0, 1.0) } else { 0.0 };
        let residual = f64::from((variation - fit.explained).max(0.0) / self.values.len() as f32).sqrt();
        Some(Explained { what, paint: fit.paint, ground: fit.ground, confidence, residual })
    }

    /// The root mean square deviation from the mean colour.
    pub(super) fn spread(&self) -> f64 {
        f64::from(self.variation / self.values.len() as f32).sqrt()
    }
}

/// The name of the nearest colour, if it is within `limit`.
pub(super) fn nearest<T: Copy>(found: [f32; 3], named: &[(T, [f32; 3])], limit: f32) -> Option<T> {
    let distances = named.iter().map(|&(name, values)| (name, distance(found, values)));
    let (name, apart) = distances.min_by(|(_, first), (_, second)| first.total_cmp(second))?;
    (apart <= limit).then_some(name)
}

/// The distance of two colours in RGB.
pub(super) fn distance(first: [f32; 3], second: [f32; 3]) -> f32 {
    first.iter().zip(second).map(|(first, second)| (first - second).powi(2)).sum::<f32>().sqrt()
}
