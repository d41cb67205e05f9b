//! Prediction types: how a denoiser's output relates to image and noise.
use super::NoiseLevel;

/// The prediction type of a denoiser, for a noised image x = signal x_0 + noise eps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prediction {
    /// The noise, eps. It does not determine the image where the signal is 0.
    Epsilon,
    /// v = signal eps - noise x_0: minus the image where there is only noise, the noise where there is none.
    Velocity,
    /// eps - x_0, the velocity of flow matching.
    Flow,
}

/// A linear combination of the noised image and the prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    /// Coefficient of the noised image.
    pub of_latent: f64,
    /// Coefficient of the prediction.
    pub of_prediction: f64,
}

impl Mixture {
    /// Evaluates the combination at one element.
    pub fn of(self, latent: f32, prediction: f32) -> f64 {
        self.of_latent * f64::from(latent) + self.of_prediction * f64::from(prediction)
    }
}

impl Prediction {
    /// The training target: the prediction of a perfect denoiser for `clean` noised with `noise`.
    pub fn target(self, level: NoiseLevel, clean: &[f32], noise: &[f32]) -> Vec<f32> {
        let (of_noise, of_clean) = match self {
            Self::Epsilon => (1.0, 0.0),
            Self::Velocity => (level.signal as f32, -level.noise as f32),
            Self::Flow => (1.0, -1.0),
        };
        clean.iter().zip(noise).map(|(x, e)| of_noise * e + of_clean * x).collect()
    }

    /// The clean image implied by a prediction. For epsilon the coefficients are infinite where there is no signal.
    pub fn clean(self, level: NoiseLevel) -> Mixture {
        let NoiseLevel { signal, noise } = level;
        match self {
            Self::Epsilon => Mixture { of_latent: 1.0 / signal, of_prediction: -noise / signal },
            Self::Velocity => {
                let square = signal * signal + noise * noise;
                Mixture { of_latent: signal / square, of_prediction: -noise / square }
            }
            Self::Flow => Mixture { of_latent: 1.0 / (signal + noise), of_prediction: -noise / (signal + noise) },
        }
    }

    /// The noise implied by a prediction.
    pub fn noise(self, level: NoiseLevel) -> Mixture {
        let NoiseLevel { signal, noise } = level;
        match self {
            Self::Epsilon => Mixture { of_latent: 0.0, of_prediction: 1.0 },
            Self::Velocity => {
                let square = signal * signal + noise * noise;
                Mixture { of_latent: noise / square, of_prediction: signal / square }
            }
            Self::Flow => Mixture { of_latent: 1.0 / (signal + noise), of_prediction: signal / (signal + noise) },
        }
    }

    /// Squared epsilon error per unit of squared prediction error. It converts a weight [`Omega`](super::Omega) on the
    /// former to one on the latter: 1 for epsilon, signal^2 for velocity (where the variance is kept) and flow.
    pub fn epsilon_error(self, level: NoiseLevel) -> f64 {
        self.noise(level).of_prediction.powi(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Prediction; 3] = [Prediction::Epsilon, Prediction::Velocity, Prediction::Flow];
    const CLEAN: [f32; 3] = [0.5, -1.0, 0.25];
    const NOISE: [f32; 3] = [1.5, 0.5, -2.0];

    fn noised(level: NoiseLevel) -> Vec<f32> {
        let mix = |(x, e): (&f32, &f32)| level.signal as f32 * x + level.noise as f32 * e;
        CLEAN.iter().zip(&NOISE).map(mix).collect()
    }

    fn near(left: &[f32], right: &[f32]) -> bool {
        left.len() == right.len() && left.iter().zip(right).all(|(l, r)| (l - r).abs() < 1e-5)
    }

    /// The estimates of the clean image and of the noise.
    fn estimates(of: Prediction, level: NoiseLevel, latent: &[f32], prediction: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let all = |mixture: Mixture| latent.iter().zip(prediction).map(|(x, p)| mixture.of(*x, *p) as f32).collect();
        (all(of.clean(level)), all(of.noise(level)))
    }

    #[test]
    fn a_perfect_prediction_gives_image_and_noise_back() {
        for level in [NoiseLevel { signal: 0.8, noise: 0.6 }, NoiseLevel { signal: 0.3, noise: 0.7 }] {
            for prediction in ALL {
                let target = prediction.target(level, &CLEAN, &NOISE);
                let (clean, noise) = estimates(prediction, level, &noised(level), &target);
                assert!(near(&clean, &CLEAN) && near(&noise, &NOISE), "{prediction:?}: {clean:?} {noise:?}");
            }
        }
    }

    #[test]
    fn without_signal_velocity_and_flow_still_know_the_image() {
        let level = NoiseLevel { signal: 0.0, noise: 1.0 };
        for prediction in [Prediction::Velocity, Prediction::Flow] {
            let target = prediction.target(level, &CLEAN, &NOISE);
            let (clean, noise) = estimates(prediction, level, &NOISE, &target);
            assert!(near(&clean, &CLEAN) && near(&noise, &NOISE));
        }
        assert!(!Prediction::Epsilon.clean(level).of_latent.is_finite());
    }

    #[test]
    fn errors_of_a_prediction_are_errors_of_epsilon() {
        // signal^2 = .64: an error of .1 in v or flow is one of .08 (or .3 * .1) in epsilon.
        let level = NoiseLevel { signal: 0.8, noise: 0.6 };
        for (prediction, level, expected) in [
            (Prediction::Epsilon, level, 1.0),
            (Prediction::Velocity, level, 0.64),
            (Prediction::Flow, NoiseLevel { signal: 0.3, noise: 0.7 }, 0.09),
        ] {
            assert!((prediction.epsilon_error(level) - expected).abs() < 1e-12);
            let off: Vec<f32> = prediction.target(level, &CLEAN, &NOISE).iter().map(|p| p + 0.1).collect();
            let (_, noise) = estimates(prediction, level, &noised(level), &off);
            assert!((f64::from(noise[0] - NOISE[0]).powi(2) - 0.01 * expected).abs() < 1e-6);
        }
    }
}
