use super::schedule::check;
use crate::MdpError;

/// Timestep spacing: which timesteps a sampler visits when it takes fewer steps than the schedule has.
///
/// # References
/// Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023, table 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Every floor(T / n)th timestep from the clean end, plus `offset` (1 for Stable Diffusion 1.x). The noisiest
    /// timesteps are not visited.
    Leading {
        /// Number added to each timestep.
        offset: usize,
    },
    /// Linearly spaced from the cleanest to the noisiest, both included.
    Linspace,
    /// Evenly down from the noisiest, which is included.
    Trailing,
}

impl Spacing {
    /// `n` of `n_train` timesteps, from noisy to clean, for samplers whose last step leads from the cleanest of them to
    /// the image.
    ///
    /// # Errors
    /// `n` is not between 1 and `n_train`, or the offset moves a timestep out of the schedule.
    ///
    /// # Examples
    /// ```
    /// use mdp::diffusion::Spacing;
    ///
    /// assert_eq!(Spacing::Leading { offset: 1 }.timesteps(1000, 4)?, [751, 501, 251, 1]);
    /// assert_eq!(Spacing::Linspace.timesteps(1000, 4)?, [999, 666, 333, 0]);
    /// assert_eq!(Spacing::Trailing.timesteps(1000, 4)?, [999, 749, 499, 249]);
    /// # Ok::<(), mdp::MdpError>(())
    /// ```
    pub fn timesteps(self, n_train: usize, n: usize) -> Result<Vec<usize>, MdpError> {
        let times = self.times(n_train, n)?;
        Ok(times.into_iter().map(|time| time.round_ties_even() as usize).collect())
    }

    /// The [`timesteps`](Self::timesteps) of higher-order solvers, which space `n + 1` points and drop the cleanest
    /// (except for [`Spacing::Trailing`], which does not include it).
    ///
    /// # Errors
    /// As [`timesteps`](Self::timesteps) of `n + 1`.
    pub fn solver_timesteps(self, n_train: usize, n: usize) -> Result<Vec<usize>, MdpError> {
        if self == Self::Trailing {
            return self.timesteps(n_train, n);
        }
        check_count(n_train, n)?;
        let mut timesteps = self.timesteps(n_train, n + 1)?;
        timesteps.pop();
        Ok(timesteps)
    }

    /// Unrounded [`timesteps`](Self::timesteps), for the Euler sampler; they may lie between timesteps
    /// ([`NoiseSchedule::at_times`](super::NoiseSchedule::at_times)).
    ///
    /// # Errors
    /// As [`timesteps`](Self::timesteps).
    pub fn times(self, n_train: usize, n: usize) -> Result<Vec<f64>, MdpError> {
        check_count(n_train, n)?;
        let last = (n_train - 1) as f64;
        match self {
            Self::Leading { offset } => {
                let noisiest = n_train / n * (n - 1) + offset;
                check("the noisiest timestep", noisiest as f64, noisiest < n_train, "inside the schedule")?;
                Ok((0..n).rev().map(|i| (n_train / n * i + offset) as f64).collect())
            }
            // One alone is the first of an even row, which is the clean end.
            Self::Linspace if n == 1 => Ok(vec![0.0]),
            // Rounding may go a hair beyond the last.
            Self::Linspace => Ok((0..n).rev().map(|i| (i as f64 * (last / (n - 1) as f64)).min(last)).collect()),
            Self::Trailing => {
                let step = n_train as f64 / n as f64;
                Ok((0..n).map(|i| (n_train as f64 - i as f64 * step).round_ties_even() - 1.0).collect())
            }
        }
    }
}

fn check_count(n_train: usize, n: usize) -> Result<(), MdpError> {
    check("the number of steps", n as f64, n >= 1 && n <= n_train, "between 1 and the schedule's timesteps")
}
