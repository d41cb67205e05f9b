//! Tensors of seeded noise, drawn from the streams of [`mdp::chance`] ([`Noise`]).

use crate::transfer::from_host;
use candle_core::{Device, Shape, Tensor};
use mdp::Rng;
pub use mdp::chance::Noise;
use mdp::chance::{standard_normal_pair, unit};

use crate::EngineError;

/// Independent normal draws with mean 0 and standard deviation `std`.
///
/// # Shapes
/// `shape`, in `f32`.
///
/// # Errors
/// The device is out of memory.
pub fn normal(rng: &mut Rng, shape: impl Into<Shape>, std: f64, device: &Device) -> Result<Tensor, EngineError> {
    let shape = shape.into();
    let n = shape.elem_count();
    let mut values = Vec::with_capacity(n + 1);
    while values.len() < n {
        let (first, second) = standard_normal_pair(rng);
        values.push((first * std) as f32);
        values.push((second * std) as f32);
    }
    values.truncate(n);
    Ok(from_host(values, shape, device)?)
}

/// Independent uniform draws between `low` and `high`; rounding to `f32` can make a draw equal to `high`.
///
/// # Shapes
/// `shape`, in `f32`.
///
/// # Errors
/// The device is out of memory.
pub fn uniform(
    rng: &mut Rng,
    shape: impl Into<Shape>,
    low: f64,
    high: f64,
    device: &Device,
) -> Result<Tensor, EngineError> {
    let shape = shape.into();
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| (low + (high - low) * unit(rng)) as f32).collect();
    Ok(from_host(values, shape, device)?)
}

/// Kaiming initialisation of a linear layer's weight: uniform within the square root of 6 / ((1 + `slope`^2) n_in).
///
/// A slope of sqrt 5 makes the bound 1 / sqrt n_in, torch's initialisation of linear layers and PEFT's of LoRA's A.
///
/// # Shapes
/// [`n_out`, `n_in`], in `f32`.
///
/// # Errors
/// The device is out of memory.
///
/// # References
/// He et al., Delving Deep into Rectifiers, <https://arxiv.org/abs/1502.01852>.
pub fn kaiming_uniform(
    rng: &mut Rng,
    n_out: usize,
    n_in: usize,
    slope: f64,
    device: &Device,
) -> Result<Tensor, EngineError> {
    let bound = (6. / ((1. + slope * slope) * n_in as f64)).sqrt();
    uniform(rng, (n_out, n_in), -bound, bound, device)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::{Noise, kaiming_uniform, normal, uniform};

    const N: usize = 100_000;

    #[test]
    fn streams_do_not_depend_on_order() {
        let noise = Noise::new(3);
        let draw =
            |index| normal(&mut noise.stream("z", index), 5, 1., &Device::Cpu).unwrap().to_vec1::<f32>().unwrap();
        let forwards: Vec<_> = (0..4).map(draw).collect();
        let mut backwards: Vec<_> = (0..4).rev().map(draw).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_ne!(forwards[0], forwards[1]);
    }

    /// The mean of N draws has standard error sigma / sqrt N; the bounds are five of them.
    #[test]
    fn normal_draws_have_their_moments() {
        let draws = normal(&mut Noise::new(5).stream("moments", 0), N, 2., &Device::Cpu).unwrap();
        let (mean, variance) = moments(&draws.to_vec1().unwrap());
        assert!(mean.abs() < 5. * 2. / (N as f64).sqrt(), "{mean}");
        // The variance of a normal's sample variance is 2 sigma^4 / N.
        assert!((variance - 4.).abs() < 5. * 4. * (2. / N as f64).sqrt(), "{variance}");
    }

    #[test]
    fn uniform_draws_have_their_moments() {
        let draws: Vec<f32> =
            uniform(&mut Noise::new(5).stream("moments", 1), N, -1., 3., &Device::Cpu).unwrap().to_vec1().unwrap();
        let (mean, variance) = moments(&draws);
        // A width of 4 has variance 16 / 12, and its fourth central moment is 4^4 / 80.
        assert!((mean - 1.).abs() < 5. * (16. / 12. / N as f64).sqrt(), "{mean}");
        assert!(
            (variance - 16. / 12.).abs() < 5. * ((256. / 80. - (16f64 / 12.).powi(2)) / N as f64).sqrt(),
            "{variance}"
        );
        assert!(draws.iter().all(|x| (-1. ..=3.).contains(x)));
    }

    #[test]
    fn kaiming_draws_fill_their_bounds() {
        let weight =
            kaiming_uniform(&mut Noise::new(1).stream("weight", 0), 64, 16, 5f64.sqrt(), &Device::Cpu).unwrap();
        assert_eq!(weight.dims(), [64, 16]);
        let largest = weight.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((0.24..=0.25).contains(&largest), "{largest}");
    }

    fn moments(draws: &[f32]) -> (f64, f64) {
        let n = draws.len() as f64;
        let mean = draws.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        (mean, draws.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n)
    }
}
