use super::NoiseSchedule;

/// omega(lambda_t), the weight of a timestep: the factor of its summed squared **epsilon** error.
///
/// A model with another prediction type measures its error in another unit. For velocity and flow the squared epsilon
/// error is signal(t)^2 times the squared error of the prediction (same noised image, same estimate), so the factor of
/// *that* error is signal(t)^2 omega; with [`Omega::MinSnr`] it is the min(snr, gamma) / (snr + 1) that is usual for
/// velocity. Other code often applies [`Omega::Constant`] to the raw prediction error instead; the run chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Omega {
    /// 1: equal weight for every timestep.
    #[default]
    Constant,
    /// The signal-to-noise ratio. Times the squared epsilon error it is the squared error of the predicted clean image.
    Snr,
    /// min(snr, gamma) / snr: less weight for timesteps with little noise, weight 1 for the others.
    ///
    /// # References
    /// Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", 2023, section 3.4: min(snr, gamma) on
    /// the squared error of the clean image, which is 1 / snr times the squared epsilon error.
    MinSnr {
        /// The threshold of the ratio; 5 in the paper.
        gamma: f64,
    },
}

impl Omega {
    /// The weight of timestep `t`.
    pub fn at(self, schedule: &NoiseSchedule, t: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Snr => schedule.snr(t),
            // Not min(snr, gamma) / snr, which is 0 / 0 where there is no signal.
            Self::MinSnr { gamma } => (gamma / schedule.snr(t)).min(1.0),
        }
    }
}
