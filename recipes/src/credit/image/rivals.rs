//! Credit that pictures have without any model: rivals of the reward. More is better for all.
use datasets::images::Pixels;

/// The distance of each place to the picture's centre, in places: what is shown is mostly in the middle.
pub(super) fn centre(height: usize, width: usize) -> Vec<f64> {
    let middle = |n: usize| (n as f64 - 1.0) / 2.0;
    let at = |place: usize| ((place / width) as f64 - middle(height)).hypot((place % width) as f64 - middle(width));
    (0..height * width).map(at).collect()
}

/// Minus the mean of each pixel's channels: brighter is worse.
pub(super) fn brightness(pixels: &Pixels) -> Vec<f64> {
    let mean = |colour: &[f32]| colour.iter().map(|value| f64::from(*value)).sum::<f64>() / colour.len() as f64;
    pixels.values().chunks_exact(Pixels::CHANNELS).map(|colour| -mean(colour)).collect()
}

/// Minus the distance of each pixel's colour from the picture's median colour: what stands out from the background is
/// worse.
pub(super) fn contrast(pixels: &Pixels) -> Vec<f64> {
    let median = |channel: usize| {
        let mut values: Vec<f32> = pixels.values().iter().skip(channel).step_by(Pixels::CHANNELS).copied().collect();
        values.sort_by(f32::total_cmp);
        values[values.len() / 2]
    };
    let median = [0, 1, 2].map(median);
    let distance = |colour: &[f32]| {
        let squares = colour.iter().zip(median).map(|(value, middle)| f64::from(value - middle).powi(2));
        -squares.sum::<f64>().sqrt()
    };
    pixels.values().chunks_exact(Pixels::CHANNELS).map(distance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rivals_are_what_they_are_called() {
        assert_eq!(centre(1, 3), [1.0, 0.0, 1.0]);
        assert_eq!(centre(2, 2), [0.5f64.hypot(0.5); 4]);
        // A dark picture with one red pixel.
        let red = |at: usize| if at == 2 { [1.0, -1.0, -1.0] } else { [-1.0; 3] };
        let pixels = Pixels::from_fn(2, 2, |row, column, channel| red(2 * row + column)[channel]);
        let (bright, stands_out) = (brightness(&pixels), contrast(&pixels));
        assert_eq!(stands_out, [0.0, 0.0, -2.0, 0.0]);
        assert!((bright[2] - 1.0 / 3.0).abs() < 1e-12 && [0, 1, 3].iter().all(|at| bright[*at] == 1.0));
    }
}
