use mdp::Rng;
use mdp::chance::standard_normal;

/// Half the logarithm of 2 pi.
const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// A Gaussian with independent coordinates.
///
/// # Shapes
/// As many log standard deviations as means.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// The mean of each coordinate.
    pub mean: Vec<f64>,
    /// The natural logarithm of each coordinate's standard deviation.
    pub log_std: Vec<f64>,
}

/// Slopes of a number with respect to the parameters of a Gaussian.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GaussianSlopes {
    /// With respect to each mean.
    pub(super) mean: Vec<f64>,
    /// With respect to each log standard deviation.
    pub(super) log_std: Vec<f64>,
}

impl Gaussian {
    /// The log-density of an action, in nats; it is above 0 where the density is above 1.
    ///
    /// # Panics
    /// If the action has another number of coordinates, as for all methods that take one.
    pub fn log_prob(&self, action: &[f64]) -> f64 {
        self.distances(action).zip(&self.log_std).map(|(z, log_std)| -0.5 * z * z - log_std - HALF_LN_TWO_PI).sum()
    }

    /// Draws an action.
    pub fn draw(&self, rng: &mut Rng) -> Vec<f64> {
        self.coordinates().map(|(mean, log_std)| mean + log_std.exp() * standard_normal(rng)).collect()
    }

    /// The differential entropy, in nats.
    pub fn entropy(&self) -> f64 {
        self.log_std.iter().map(|log_std| log_std + 0.5 + HALF_LN_TWO_PI).sum()
    }

    /// KL(reference || self), in nats: minus the expected log-ratio of the reference's own actions (Eq. 14 without its beta).
    pub fn divergence_from(&self, reference: &Self) -> f64 {
        let each = |((mean, log_std), (of_reference, wide)): ((f64, f64), (f64, f64))| {
            let ratio = (2.0 * (wide - log_std)).exp();
            log_std - wide + 0.5 * (ratio + ((mean - of_reference) / log_std.exp()).powi(2) - 1.0)
        };
        self.coordinates().zip(reference.coordinates()).map(each).sum()
    }

    /// The slopes of [`log_prob`](Gaussian::log_prob).
    pub(super) fn slopes_of_log_prob(&self, action: &[f64]) -> GaussianSlopes {
        let mean = self.distances(action).zip(&self.log_std).map(|(z, log_std)| z / log_std.exp()).collect();
        GaussianSlopes { mean, log_std: self.distances(action).map(|z| z * z - 1.0).collect() }
    }

    /// The slopes of [`divergence_from`](Gaussian::divergence_from).
    pub(super) fn slopes_of_divergence(&self, reference: &Self) -> GaussianSlopes {
        let both = || self.coordinates().zip(reference.coordinates());
        let mean = both().map(|((mean, log_std), (of_reference, _))| (mean - of_reference) / (2.0 * log_std).exp());
        let log_std = both().map(|((mean, log_std), (of_reference, wide))| {
            1.0 - (2.0 * (wide - log_std)).exp() - ((mean - of_reference) / log_std.exp()).powi(2)
        });
        GaussianSlopes { mean: mean.collect(), log_std: log_std.collect() }
    }

    fn coordinates(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.mean.iter().copied().zip(self.log_std.iter().copied())
    }

    /// Each coordinate's distance from the mean, in standard deviations.
    fn distances<'a>(&'a self, action: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        assert_eq!(action.len(), self.mean.len(), "an action has as many coordinates as the mean");
        self.coordinates().zip(action).map(|((mean, log_std), action)| (action - mean) / log_std.exp())
    }
}
