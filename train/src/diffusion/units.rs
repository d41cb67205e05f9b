use std::fmt;

use mdp::diffusion::Prediction;
use mdp::diffusion::{NoiseSchedule, Omega};

/// How the squared errors of a latent's numbers add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum, the paper's norm.
    Sum,
    /// Their mean, as in the released Diffusion-DPO code: beta then depends on the resolution.
    Mean,
}

/// What one unit of summed squared error counts before beta: the hidden units of the field made explicit.
///
/// Eq. 15 of the paper weighs |eps - eps_ref|^2 - |eps - eps_phi|^2, a sum of squares, with gamma T omega(lambda_t); the
/// released Diffusion-DPO code takes means over channels, height and width, a factor 1/2, and no T (its beta has it).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Units {
    /// Sum or mean over a latent's numbers.
    pub reduction: Reduction,
    /// Whether there is a factor 1/2.
    pub half: bool,
    /// The factor T; 1 where beta has it.
    pub horizon: f64,
    /// omega(lambda_t).
    pub omega: Omega,
}

impl Units {
    /// The weight of one of `k` forward-noised decisions at timestep `t` on latents of `size` numbers:
    /// T omega(lambda_t) / K, halved or averaged as the units say.
    ///
    /// Constant omega counts the prediction's own error, as the released codes do. Any other is meant for errors of the
    /// noise, and a velocity's or a flow's error is turned into that.
    pub fn of_error(&self, prediction: Prediction, schedule: &NoiseSchedule, t: usize, size: usize, k: usize) -> f64 {
        let own = match self.omega {
            Omega::Constant => 1.0,
            Omega::Snr | Omega::MinSnr { .. } => prediction.epsilon_error(schedule.level(t)),
        };
        self.factor(size) * self.horizon * self.omega.at(schedule, t) * own / k as f64
    }

    /// The weight of one of `k` decisions that are scored by their log-density, of `n` there are: the density brings its
    /// own half and its own weight of the error.
    pub fn of_density(&self, size: usize, k: usize, n: usize) -> f64 {
        let size = if self.reduction == Reduction::Mean { size as f64 } else { 1.0 };
        n as f64 / (k as f64 * size)
    }

    /// beta per unit of summed squared error where omega is 1, all draws of an example together.
    pub fn coefficient(&self, beta: f64, size: usize) -> f64 {
        beta * self.factor(size) * self.horizon
    }

    /// What one nat of the log-density of one of `k` decisions, of `n` there are, counts: for people.
    pub fn describe_density(&self, size: usize, k: usize, n: usize) -> String {
        let reduction = if self.reduction == Reduction::Sum { "sum" } else { "mean" };
        let weight = self.of_density(size, k, n) * self.horizon;
        format!("log-densities of {k} of {n} steps: {reduction} over a latent, {weight:.3e} a nat before beta")
    }

    fn factor(&self, size: usize) -> f64 {
        let half = if self.half { 0.5 } else { 1.0 };
        match self.reduction {
            Reduction::Sum => half,
            Reduction::Mean => half / size as f64,
        }
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reduction = if self.reduction == Reduction::Sum { "sum" } else { "mean" };
        let half = if self.half { ", halved" } else { "" };
        write!(f, "squared errors: {reduction} over a latent{half}, times T = {}, omega {:?}", self.horizon, self.omega)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_released_settings_in_units_of_summed_error() {
        // 5000 * 0.5 / (4 * 64 * 64) and 5000 * 0.5 / (4 * 128 * 128).
        let released = Units { reduction: Reduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
        assert!((released.coefficient(5000.0, 4 * 64 * 64) - 0.152_587_890_625).abs() < 1e-12);
        assert!((released.coefficient(5000.0, 4 * 128 * 128) - 0.038_146_972_656_25).abs() < 1e-12);
        let paper = Units { reduction: Reduction::Sum, half: false, horizon: 1000.0, omega: Omega::Constant };
        assert_eq!(paper.coefficient(0.001, 4 * 64 * 64), 1.0);
    }

    #[test]
    fn draws_share_the_weight() {
        let schedule = NoiseSchedule::linear(10, 1e-4, 0.02).unwrap();
        let units = Units { reduction: Reduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
        assert_eq!(units.of_error(Prediction::Epsilon, &schedule, 3, 8, 4), 0.5 / 8.0 / 4.0);
        assert_eq!(units.of_error(Prediction::Velocity, &schedule, 3, 8, 4), 0.5 / 8.0 / 4.0);
        // The squared error of the noise is signal^2 times that of the velocity.
        let snr = Units { omega: Omega::Snr, ..units };
        let (ours, theirs) = (Prediction::Velocity, Prediction::Epsilon);
        let ratio = snr.of_error(ours, &schedule, 3, 8, 4) / snr.of_error(theirs, &schedule, 3, 8, 4);
        assert!((ratio - schedule.signal(3).powi(2)).abs() < 1e-12);
        assert_eq!(units.of_density(8, 5, 20), 0.5);
    }
}
