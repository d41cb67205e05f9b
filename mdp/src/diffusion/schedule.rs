use crate::MdpError;

/// The largest beta of [`NoiseSchedule::squared_cosine`], so that its last signal is not 0.
const LARGEST_COSINE_BETA: f64 = 0.999;

/// The signal and noise factors of a latent: x = signal x_0 + noise eps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseLevel {
    /// The factor of the image.
    pub signal: f64,
    /// The factor of the noise.
    pub noise: f64,
}

impl NoiseLevel {
    /// The noise-free image.
    pub const IMAGE: Self = Self { signal: 1.0, noise: 0.0 };
}

/// A noise schedule: the signal and noise factors at each timestep, x_t = signal(t) x_0 + noise(t) eps.
///
/// Timestep 0 is the cleanest. Beta schedules are variance-preserving: signal^2 + noise^2 = 1, where signal(t)^2 is the
/// product of 1 - beta up to t (`alphas_cumprod` elsewhere). The flow schedule is a straight line: signal + noise = 1.
///
/// # Examples
/// ```
/// use mdp::diffusion::NoiseSchedule;
///
/// let schedule = NoiseSchedule::linear(1000, 1e-4, 0.02)?;
/// // Almost an image at the clean end, almost nothing but noise at the other.
/// assert!(schedule.log_snr(0) > 9.0 && schedule.log_snr(999) < -10.0);
/// # Ok::<(), mdp::MdpError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    signal: Vec<f64>,
    noise: Vec<f64>,
    times: Vec<f64>,
}

impl NoiseSchedule {
    /// Linearly spaced betas (DDPM's schedule: 1000 of them, from 1e-4 to 0.02).
    ///
    /// # Errors
    /// No timestep, or a beta that is not between 0 and 1.
    pub fn linear(timesteps: usize, beta_start: f64, beta_end: f64) -> Result<Self, MdpError> {
        Self::from_betas(&evenly(timesteps, beta_start, beta_end))
    }

    /// Betas whose square roots are linearly spaced (Stable Diffusion's schedule: 1000 of them, from 0.00085 to 0.012).
    ///
    /// # Errors
    /// No timestep, or a beta that is not between 0 and 1.
    pub fn scaled_linear(timesteps: usize, beta_start: f64, beta_end: f64) -> Result<Self, MdpError> {
        for (what, value) in [("beta_start", beta_start), ("beta_end", beta_end)] {
            check(what, value, value > 0.0 && value < 1.0, "between 0 and 1")?;
        }
        let roots = evenly(timesteps, beta_start.sqrt(), beta_end.sqrt());
        Self::from_betas(&roots.into_iter().map(|root| root * root).collect::<Vec<_>>())
    }

    /// A squared-cosine signal: signal(t)^2 ~ cos^2((u + .008) / 1.008 * pi / 2) at u = (t + 1) / T, with betas clipped
    /// to 0.999.
    ///
    /// # Errors
    /// No timestep.
    ///
    /// # References
    /// Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models", 2021, section 3.2.
    pub fn squared_cosine(timesteps: usize) -> Result<Self, MdpError> {
        let squared = |i: usize| {
            let u = i as f64 / timesteps as f64;
            ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2)
        };
        let beta = |i| (1.0 - squared(i + 1) / squared(i)).min(LARGEST_COSINE_BETA);
        Self::from_betas(&(0..timesteps).map(beta).collect::<Vec<_>>())
    }

    /// The schedule of given betas, from the cleanest timestep to the noisiest. The last may be 1, which leaves no
    /// signal.
    ///
    /// # Errors
    /// No beta, or one that is not between 0 and 1.
    pub fn from_betas(betas: &[f64]) -> Result<Self, MdpError> {
        check_length(betas.len())?;
        let (mut product, mut squares) = (1.0, Vec::with_capacity(betas.len()));
        for (t, &beta) in betas.iter().enumerate() {
            let is_last = t + 1 == betas.len();
            let lawful = beta > 0.0 && (beta < 1.0 || (is_last && beta == 1.0));
            check(&format!("beta {t}"), beta, lawful, "between 0 and 1 (only the last may be 1)")?;
            product *= 1.0 - beta;
            squares.push(product);
        }
        Ok(Self::from_squared_signals(&squares))
    }

    /// Flow matching: x_t = (1 - s) x_0 + s eps with s = shift u / (1 + (shift - 1) u) at u = (t + 1) / T. The network
    /// receives s T as its time, not t. The noisiest timestep has no signal.
    ///
    /// # Errors
    /// No timestep, or a shift that is not positive.
    ///
    /// # References
    /// Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", 2024, Eq. 23.
    pub fn flow(timesteps: usize, shift: f64) -> Result<Self, MdpError> {
        check_length(timesteps)?;
        check("shift", shift, shift > 0.0 && shift.is_finite(), "positive")?;
        let noise = (1..=timesteps).map(|i| shifted(i as f64 / timesteps as f64, shift)).collect();
        Ok(Self::straight(noise, timesteps))
    }

    /// The `n` noise levels that a sampler visits under [`flow`](Self::flow), as a new schedule: linearly spaced
    /// between the noisiest and the cleanest level, then shifted (a second time, as in diffusers).
    ///
    /// # Errors
    /// As [`flow`](Self::flow); no level.
    pub fn flow_levels(timesteps: usize, shift: f64, n: usize) -> Result<Self, MdpError> {
        Self::flow_levels_shifted(timesteps, shift, shift, n)
    }

    /// [`flow_levels`](Self::flow_levels) with a second shift that differs from the training levels', as one that depends
    /// on the size of the images.
    ///
    /// # Errors
    /// As [`flow_levels`](Self::flow_levels).
    pub fn flow_levels_shifted(timesteps: usize, training: f64, shift: f64, n: usize) -> Result<Self, MdpError> {
        let training = Self::flow(timesteps, training)?;
        check("shift", shift, shift > 0.0 && shift.is_finite(), "positive")?;
        check("number of levels", n as f64, n > 0, "at least 1")?;
        // One level alone is the noisiest, which is where sampling starts.
        let (low, high) = (training.noise[0], training.noise[timesteps - 1]);
        let share = |i: usize| if n == 1 { 1.0 } else { i as f64 / (n - 1) as f64 };
        let level = |i: usize| shifted((1.0 - share(i)) * low + share(i) * high, shift);
        Ok(Self::straight((0..n).map(level).collect(), timesteps))
    }

    /// The `n` noise levels of a sampler that asks for them evenly spaced, 1 / n, .., 1, then shifted, as a new schedule:
    /// whatever the training levels are (FLUX.1).
    ///
    /// # Errors
    /// No level or no timestep; a shift that is not positive.
    pub fn flow_levels_even(timesteps: usize, shift: f64, n: usize) -> Result<Self, MdpError> {
        check_length(timesteps)?;
        Ok(Self::straight(Self::flow(n, shift)?.noise, timesteps))
    }

    /// Rescales the schedule to zero terminal SNR: signals are shifted and scaled so that the last is exactly 0 and the
    /// first is unchanged. [`log_snr`](Self::log_snr) is minus infinity there and epsilon does not determine the image,
    /// so this needs velocity or flow prediction.
    ///
    /// # Panics
    /// If the schedule is not variance-preserving, or has only one timestep.
    ///
    /// # References
    /// Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023, algorithm 1.
    #[must_use]
    pub fn with_zero_terminal_snr(&self) -> Self {
        let (first, last) = (self.signal[0], self.signal[self.len() - 1]);
        assert!(self.keeps_variance() && first > last, "zero terminal SNR is for falling signals made of betas");
        let stretched = |signal: &f64| (signal - last) * first / (first - last);
        let squares: Vec<f64> = self.signal.iter().map(|signal| stretched(signal).powi(2)).collect();
        Self { times: self.times.clone(), ..Self::from_squared_signals(&squares) }
    }

    /// The schedule at fractional timesteps, from clean to noisy, as a new schedule. noise / signal is interpolated
    /// linearly between the two neighbours.
    ///
    /// # Errors
    /// No time, one that is outside the schedule, or times that do not rise.
    ///
    /// # Panics
    /// If the schedule is not variance-preserving.
    pub fn at_times(&self, times: &[f64]) -> Result<Self, MdpError> {
        assert!(self.keeps_variance(), "times between timesteps are for schedules made of betas");
        check_length(times.len())?;
        let mut squares = Vec::with_capacity(times.len());
        for (i, &time) in times.iter().enumerate() {
            let inside = time >= 0.0 && time <= (self.len() - 1) as f64 && (i == 0 || times[i - 1] < time);
            check(&format!("time {i}"), time, inside, "inside the schedule and above the one before")?;
            let (below, share) = (time as usize, time.fract());
            let above = (below + 1).min(self.len() - 1);
            let ratio = |t: usize| self.noise[t] / self.signal[t];
            // A neighbour without signal has an infinite ratio, which must not count where its share is 0.
            let ratio = if share == 0.0 { ratio(below) } else { (1.0 - share) * ratio(below) + share * ratio(above) };
            squares.push(1.0 / (1.0 + ratio * ratio));
        }
        Ok(Self { times: times.to_vec(), ..Self::from_squared_signals(&squares) })
    }

    /// Number of timesteps; 0 is the cleanest.
    #[expect(clippy::len_without_is_empty, reason = "a schedule without timesteps can't be made")]
    pub fn len(&self) -> usize {
        self.signal.len()
    }

    /// The signal and noise factors of timestep `t`.
    pub fn level(&self, t: usize) -> NoiseLevel {
        NoiseLevel { signal: self.signal[t], noise: self.noise[t] }
    }

    /// The signal factor of timestep `t`.
    pub fn signal(&self, t: usize) -> f64 {
        self.signal[t]
    }

    /// The noise factor of timestep `t`.
    pub fn noise(&self, t: usize) -> f64 {
        self.noise[t]
    }

    /// The time input of the network at timestep `t`.
    pub fn time(&self, t: usize) -> f64 {
        self.times[t]
    }

    /// The signal-to-noise ratio, signal^2 / noise^2.
    pub fn snr(&self, t: usize) -> f64 {
        (self.signal[t] / self.noise[t]).powi(2)
    }

    /// lambda_t, the logarithm of the signal-to-noise ratio, in nats; minus infinity where there is no signal.
    pub fn log_snr(&self, t: usize) -> f64 {
        2.0 * (self.signal[t] / self.noise[t]).ln()
    }

    /// Samples q(x_t | x_0) with given noise.
    pub fn noised(&self, clean: &[f32], noise: &[f32], t: usize) -> Vec<f32> {
        let (a, b) = (self.signal[t] as f32, self.noise[t] as f32);
        clean.iter().zip(noise).map(|(x, e)| a * x + b * e).collect()
    }

    fn keeps_variance(&self) -> bool {
        self.signal.iter().zip(&self.noise).all(|(a, b)| (a * a + b * b - 1.0).abs() < 1e-9)
    }

    fn from_squared_signals(squares: &[f64]) -> Self {
        Self {
            signal: squares.iter().map(|square| square.sqrt()).collect(),
            noise: squares.iter().map(|square| (1.0 - square).sqrt()).collect(),
            times: (0..squares.len()).map(|t| t as f64).collect(),
        }
    }

    fn straight(noise: Vec<f64>, timesteps: usize) -> Self {
        let times = noise.iter().map(|level| level * timesteps as f64).collect();
        Self { signal: noise.iter().map(|level| 1.0 - level).collect(), noise, times }
    }
}

/// `n` linearly spaced numbers from `start` to `end`; one alone is `start`.
fn evenly(n: usize, start: f64, end: f64) -> Vec<f64> {
    let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(|i| start + step * i as f64).collect()
}

fn shifted(level: f64, shift: f64) -> f64 {
    // The same as shift u / (1 + (shift - 1) u), and exactly 1 where u is.
    shift * level / (shift * level + (1.0 - level))
}

fn check_length(timesteps: usize) -> Result<(), MdpError> {
    check("number of timesteps", timesteps as f64, timesteps > 0, "at least 1")
}

pub(super) fn check(what: &str, value: f64, lawful: bool, expected: &'static str) -> Result<(), MdpError> {
    if lawful { Ok(()) } else { Err(MdpError::Schedule { what: what.to_owned(), value, expected }) }
}
