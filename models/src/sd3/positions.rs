//! Positions of patches: a table of sines and cosines, and the part of it that an image gets.

/// The longest period, divided by 2 pi.
const LARGEST_PERIOD: f64 = 10_000.;

/// The table of positions, `[positions^2, width]`: sines and cosines of the column in the first half of a row, of the row
/// in the second. Positions are scaled so that the whole side spans `span` of them.
pub(super) fn position_table(positions: usize, width: usize, span: usize) -> Vec<f32> {
    let (scale, quarter) = (span as f64 / positions as f64, width / 4);
    let frequencies: Vec<f64> = (0..quarter).map(|i| LARGEST_PERIOD.powf(-(i as f64) / quarter as f64)).collect();
    let mut table = Vec::with_capacity(positions * positions * width);
    for place in 0..positions * positions {
        for position in [place % positions, place / positions] {
            let angles = frequencies.iter().map(|frequency| position as f64 * scale * frequency);
            let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
            table.extend(sines.into_iter().chain(cosines).map(|value| value as f32));
        }
    }
    table
}

/// The rows of the table for an image of this many patches: those in its middle.
pub(super) fn cropped(positions: usize, height: usize, width: usize) -> Vec<u32> {
    let (top, left) = ((positions - height) / 2, (positions - width) / 2);
    let row = |row: usize| (0..width).map(move |column| ((top + row) * positions + left + column) as u32);
    (0..height).flat_map(row).collect()
}
