use super::NoiseSchedule;

/// omega(lambda_t), how much a timestep counts: the factor of its summed squared **epsilon** error.
///
/// A model that predicts something else makes its errors in another unit. For velocity and flow the squared epsilon
/// error is signal(t)^2 times the squared error of the prediction (the same noised image with the same estimate), so the
/// factor of *that* error is signal(t)^2 omega; with [`Omega::MinSnr`] it is the min(snr, gamma) / (snr + 1) that is
/// usual for velocity. [`Omega::Constant`] is commonly put on whatever the model predicts instead; which of the two a
/// run does is for it to say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Omega {
    /// 1: every timestep counts the same.
    #[default]
    Constant,
    /// The signal-to-noise ratio. The squared epsilon error times it is the squared error of the clean image that the
    /// prediction stands for.
    Snr,
    /// min(snr, gamma) / snr: timesteps with little noise count less, all that are noisy enough count 1.
    ///
    /// # References
    /// Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", 2023, section 3.4: min(snr, gamma) on
    /// the squared error of the clean image, which is 1 / snr times the squared epsilon error.
    MinSnr {
        /// Where the ratio is cut off; 5 in the paper.
        gamma: f64,
    },
}

impl Omega {
    /// The factor of timestep `t`.
    pub fn at(self, schedule: &NoiseSchedule, t: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Snr => schedule.snr(t),
            // Not min(snr, gamma) / snr, which is 0 / 0 where there is no signal.
            Self::MinSnr { gamma } => (gamma / schedule.snr(t)).min(1.0),
        }
    }
}
