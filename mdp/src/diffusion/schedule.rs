/// How much signal and noise a latent has at each timestep: x_t = signal(t) x_0 + noise(t) eps.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    signal: Vec<f64>,
    noise: Vec<f64>,
    times: Vec<f64>,
}

impl NoiseSchedule {
    /// How many timesteps there are; 0 is the cleanest.
    #[expect(clippy::len_without_is_empty, reason = "a schedule without timesteps can't be made")]
    pub fn len(&self) -> usize {
        self.signal.len()
    }

    /// The factor of the image.
    pub fn signal(&self, t: usize) -> f64 {
        self.signal[t]
    }

    /// The factor of the noise.
    pub fn noise(&self, t: usize) -> f64 {
        self.noise[t]
    }

    /// What the network is told of timestep `t`.
    pub fn time(&self, t: usize) -> f64 {
        self.times[t]
    }

    /// q(x_t | x_0) with given noise.
    pub fn noised(&self, clean: &[f32], noise: &[f32], t: usize) -> Vec<f32> {
        let (a, b) = (self.signal[t] as f32, self.noise[t] as f32);
        clean.iter().zip(noise).map(|(x, e)| a * x + b * e).collect()
    }
}
