use std::fmt;

use mdp::diffusion::Prediction;
use mdp::diffusion::{NoiseSchedule, Omega};

/// The reduction of squared errors over a latent's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorReduction {
    /// The sum, the paper's norm.
    Sum,
    /// The mean, as in the released Diffusion-DPO code: beta then depends on the resolution.
    Mean,
}

/// The weight of a squared error before beta: the implicit units of published losses, made explicit.
///
/// Eq. 15 of the paper weighs |eps - eps_ref|^2 - |eps - eps_phi|^2, a sum of squares, with gamma T omega(lambda_t); the
/// released Diffusion-DPO code takes means over channels, height and width, a factor 1/2, and no T (its beta has it).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Units {
    /// Sum or mean over a latent's elements.
    pub reduction: ErrorReduction,
    /// Whether to include the factor 1/2.
    pub half: bool,
    /// The factor T; 1 if beta includes it.
    pub horizon: f64,
    /// omega(lambda_t).
    pub omega: Omega,
}

impl Units {
    /// The weight of one of `k` forward-noised decisions at timestep `t` on latents of `size` elements: T
    /// omega(lambda_t) / K, with the mean and the half as configured.
    ///
    /// Constant omega weighs the raw prediction error, as in the released codes. Any other omega is defined on noise
    /// errors, so a velocity or flow error is converted.
    pub fn of_error(&self, prediction: Prediction, schedule: &NoiseSchedule, t: usize, size: usize, k: usize) -> f64 {
        let own = match self.omega {
            Omega::Constant => 1.0,
            Omega::Snr | Omega::MinSnr { .. } => prediction.epsilon_error(schedule.level(t)),
        };
        self.factor(size) * self.horizon * self.omega.at(schedule, t) * own / k as f64
    }

    /// The weight of one of `k` sampled decisions of `n`, scored by log-density, which includes the half and the weight
    /// of the error.
    pub fn of_density(&self, size: usize, k: usize, n: usize) -> f64 {
        let size = if self.reduction == ErrorReduction::Mean { size as f64 } else { 1.0 };
        n as f64 / (k as f64 * size)
    }

    /// beta per unit of summed squared error at omega 1, over all draws of an example.
    pub fn coefficient(&self, beta: f64, size: usize) -> f64 {
        beta * self.factor(size) * self.horizon
    }

    /// Describes for users the weight of one nat of log-density of one of `k` decisions of `n`.
    pub fn describe_density(&self, size: usize, k: usize, n: usize) -> String {
        let reduction = if self.reduction == ErrorReduction::Sum { "sum" } else { "mean" };
        let weight = self.of_density(size, k, n) * self.horizon;
        format!("log-densities of {k} of {n} steps: {reduction} over a latent, {weight:.3e} a nat before beta")
    }

    fn factor(&self, size: usize) -> f64 {
        let half = if self.half { 0.5 } else { 1.0 };
        match self.reduction {
            ErrorReduction::Sum => half,
            ErrorReduction::Mean => half / size as f64,
        }
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reduction = if self.reduction == ErrorReduction::Sum { "sum" } else { "mean" };
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
        let released = Units { reduction: ErrorReduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
        assert!((released.coefficient(5000.0, 4 * 64 * 64) - 0.152_587_890_625).abs() < 1e-12);
        assert!((released.coefficient(5000.0, 4 * 128 * 128) - 0.038_146_972_656_25).abs() < 1e-12);
        let paper = Units { reduction: ErrorReduction::Sum, half: false, horizon: 1000.0, omega: Omega::Constant };
        assert_eq!(paper.coefficient(0.001, 4 * 64 * 64), 1.0);
    }

    #[test]
    fn draws_share_the_weight() {
        let schedule = NoiseSchedule::linear(10, 1e-4, 0.02).unwrap();
        let units = Units { reduction: ErrorReduction::Mean, half: true, horizon: 1.0, omega: Omega::Constant };
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
