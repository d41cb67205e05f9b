//! Positions of patches: sines and cosines of their column and row.

/// The longest period, divided by 2 pi.
const LARGEST_PERIOD: f64 = 10_000.;

/// The positions of a grid of patches, `[height * width, channels]`: sines and cosines of the column in the first half of
/// a row, of the row in the second. Both sides span `span` positions, whatever their number of patches.
pub(super) fn positions(height: usize, width: usize, channels: usize, span: f64) -> Vec<f32> {
    let (columns, rows) = (waves(width, channels / 2, span), waves(height, channels / 2, span));
    let place = |place: usize| [&columns[place % width][..], &rows[place / width][..]].concat();
    (0..height * width).flat_map(place).collect()
}

/// The sines, then the cosines, of `n` positions along a side.
fn waves(n: usize, channels: usize, span: f64) -> Vec<Vec<f32>> {
    let half = channels / 2;
    let wave = |index: usize| {
        let position = index as f64 / n as f64 * span;
        let angles = (0..half).map(|i| position * LARGEST_PERIOD.powf(-(i as f64) / half as f64));
        let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
        sines.into_iter().chain(cosines).map(|value| value as f32).collect()
    };
    (0..n).map(wave).collect()
}
