//! Sinusoidal timestep embedding.

use crate::transfer::from_host;
use candle_core::{DType, Device, Result, Tensor, bail};

/// The longest period, divided by 2 pi.
const LARGEST_PERIOD: f64 = 10_000.;

/// A sinusoidal timestep embedding; the fields are diffusers' parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimestepEmbedding {
    /// The embedding size.
    pub channels: usize,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// The number subtracted from the count of frequencies in the exponent's denominator: with 1 the lowest frequency
    /// is 1 / 10000, with 0 a little higher.
    pub downscale_freq_shift: f64,
}

impl TimestepEmbedding {
    /// Sines and cosines of each time at `channels / 2` frequencies that decrease geometrically from 1; an odd last
    /// channel is 0. Computed in `f64`, then rounded; there is no gradient.
    ///
    /// # Shapes
    ///
    /// `[times.len(), channels]`.
    ///
    /// # Errors
    ///
    /// A shift that is not below `channels / 2`; the device is out of memory.
    ///
    /// # References
    ///
    /// Vaswani et al., *Attention Is All You Need* (2017), 3.5; Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic
    /// Models* (2020).
    pub fn embed(&self, times: &[f64], dtype: DType, device: &Device) -> Result<Tensor> {
        let half = self.channels / 2;
        let steps = half as f64 - self.downscale_freq_shift;
        if half == 0 || steps <= 0. || !steps.is_finite() {
            bail!("{self:?} leaves no frequencies");
        }
        let mut values = Vec::with_capacity(times.len() * self.channels);
        for &time in times {
            let angles = (0..half).map(|i| time * (-LARGEST_PERIOD.ln() * i as f64 / steps).exp());
            let (sines, cosines): (Vec<f64>, Vec<f64>) = angles.map(f64::sin_cos).unzip();
            let [first, second] = if self.flip_sin_to_cos { [cosines, sines] } else { [sines, cosines] };
            values.extend(first.into_iter().chain(second));
            values.extend((2 * half..self.channels).map(|_| 0.));
        }
        from_host(values, (times.len(), self.channels), device)?.to_dtype(dtype)
    }
}
