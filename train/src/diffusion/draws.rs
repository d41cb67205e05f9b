use std::sync::Arc;

use mdp::chance::{self, Noise};
use mdp::diffusion::Latent;

/// The distribution of timesteps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Timesteps {
    /// Uniform over the timesteps.
    Uniform,
    /// Stratified: draw k of K is uniform in the k-th of K equal parts of the timesteps.
    Stratified,
    /// Logit-normal: the timestep at fraction sigma(n), n standard normal (Esser et al. 2024).
    LogitNormal,
}

/// The sharing of noise by the two images of a pair, and by the draws of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseSharing {
    /// Both images of a pair get the same timestep and noise, which lowers the variance of their difference.
    Shared,
    /// Both images get the same timestep and independent noise.
    Independent,
    /// Both images get the same timestep, and each the noise from which it was made ([`Images::prior_noise`](super::Images::prior_noise)):
    /// its own way from noise to image, which a flow makes nearly straight (PNAPO, Lu et al. 2026, arXiv:2605.09433).
    Prior,
    /// As shared; every second draw repeats the timestep of the previous one with its noise negated.
    Antithetic,
}

/// The timestep and noise draws of examples, a pure function of (seed, example, draw).
#[derive(Clone, Debug, PartialEq)]
pub struct DrawPlan {
    /// Seed of all draws.
    pub seed: u64,
    /// K, the number of draws inside one sigmoid.
    pub per_example: usize,
    /// Number of draw sets per example: epoch e uses set e modulo this, so 1 reuses the same draws (and the reference's
    /// numbers) in every epoch.
    pub sets: usize,
    /// The distribution of timesteps.
    pub timesteps: Timesteps,
    /// The sharing of noise.
    pub noise: NoiseSharing,
    /// Timesteps and noise from a file, instead of random ones.
    pub given: Option<Arc<FixedDraws>>,
}

/// Draws from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedDraws {
    /// The draws of each example, [`DrawPlan::per_example`] of them: timestep and noise of both images.
    pub draws: Vec<Vec<(usize, Latent)>>,
}

/// One draw of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// The timestep, shared by the images.
    pub timestep: usize,
    /// The noise of each image.
    pub noise: Vec<Latent>,
}

impl DrawPlan {
    /// The draws of held-out examples: with a seed of their own, the same at every evaluation, never from a file.
    #[must_use]
    pub fn held_out(&self) -> Self {
        // The word "held".
        Self { seed: self.seed ^ 0x6865_6c64, sets: 1, given: None, ..self.clone() }
    }

    /// A fingerprint of the draws, for cache keys.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let Self { seed, per_example, sets, timesteps, noise, given } = self;
        hasher.update(format!("{seed} {per_example} {sets} {timesteps:?} {noise:?}").as_bytes());
        if let Some(given) = given {
            for (timestep, _) in given.draws.iter().flatten() {
                hasher.update(&timestep.to_le_bytes());
            }
            for number in given.draws.iter().flatten().flat_map(|(_, noise)| noise.iter()) {
                hasher.update(&number.to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Draw `k` of example `example`, for images of `size` elements and a schedule of `n_timesteps`.
    ///
    /// `example` counts the sets too; `None` if the draws come from a file and it has none for the example.
    pub(crate) fn draw(&self, example: usize, k: usize, sides: usize, size: usize, n_timesteps: usize) -> Option<Draw> {
        if let Some(given) = &self.given {
            let (timestep, noise) = given.draws.get(example)?.get(k)?.clone();
            return Some(Draw { timestep, noise: vec![noise; sides] });
        }
        let antithetic = self.noise == NoiseSharing::Antithetic;
        let drawn = if antithetic { k - k % 2 } else { k };
        let mut rng = Noise::new(self.seed).stream(&format!("diffusion draw {drawn}"), example as u64);
        let share = match self.timesteps {
            Timesteps::Uniform => chance::unit(&mut rng),
            Timesteps::Stratified => {
                let (stratum, n) =
                    if antithetic { (k / 2, self.per_example.div_ceil(2)) } else { (k, self.per_example) };
                (stratum as f64 + chance::unit(&mut rng)) / n as f64
            }
            Timesteps::LogitNormal => 1.0 / (1.0 + (-chance::standard_normal(&mut rng)).exp()),
        };
        let timestep = ((share * n_timesteps as f64) as usize).min(n_timesteps - 1);
        let mut fresh = || -> Latent { (0..size).map(|_| chance::standard_normal(&mut rng) as f32).collect() };
        let first = fresh();
        let noise = match self.noise {
            NoiseSharing::Independent => std::iter::once(first).chain((1..sides).map(|_| fresh())).collect(),
            NoiseSharing::Antithetic if k % 2 == 1 => {
                let turned: Latent = first.iter().map(|x| -x).collect();
                vec![turned; sides]
            }
            // The noise of each image takes the place of this one.
            NoiseSharing::Antithetic | NoiseSharing::Shared | NoiseSharing::Prior => vec![first; sides],
        };
        Some(Draw { timestep, noise })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(timesteps: Timesteps, noise: NoiseSharing) -> DrawPlan {
        DrawPlan { seed: 3, per_example: 4, sets: 1, timesteps, noise, given: None }
    }

    fn draw(draws: &DrawPlan, example: usize, k: usize) -> Draw {
        draws.draw(example, k, 2, 5, 1000).unwrap()
    }

    #[test]
    fn a_draw_is_a_function_of_its_names() {
        let draws = draws(Timesteps::Uniform, NoiseSharing::Shared);
        assert_eq!(draw(&draws, 7, 2), draw(&draws, 7, 2));
        assert_ne!(draw(&draws, 7, 2), draw(&draws, 7, 3));
        assert_ne!(draw(&draws, 7, 2), draw(&draws, 8, 2));
        assert_ne!(draw(&draws, 7, 2), draw(&DrawPlan { seed: 4, ..draws.clone() }, 7, 2));
        assert_eq!(draw(&draws, 7, 2), draw(&DrawPlan { per_example: 9, ..draws.clone() }, 7, 2));
    }

    #[test]
    fn noise_is_shared_as_asked() {
        let shared = draw(&draws(Timesteps::Uniform, NoiseSharing::Shared), 0, 0);
        assert_eq!(shared.noise[0], shared.noise[1]);
        let own = draw(&draws(Timesteps::Uniform, NoiseSharing::Independent), 0, 0);
        assert_ne!(own.noise[0], own.noise[1]);
        let antithetic = draws(Timesteps::Uniform, NoiseSharing::Antithetic);
        let (first, second) = (draw(&antithetic, 0, 2), draw(&antithetic, 0, 3));
        assert_eq!(first.timestep, second.timestep);
        assert_eq!((first.noise[0].len(), second.noise[0].len()), (5, 5));
        assert!(first.noise[0].iter().any(|number| *number != 0.0));
        assert!(first.noise[0].iter().zip(second.noise[0].iter()).all(|(a, b)| *a == -b));
    }

    #[test]
    fn strata_are_met_once_each() {
        let stratified = draws(Timesteps::Stratified, NoiseSharing::Shared);
        for example in 0..50 {
            for k in 0..4 {
                let t = draw(&stratified, example, k).timestep;
                assert!((250 * k..250 * (k + 1)).contains(&t), "draw {k} at {t}");
            }
        }
    }

    #[test]
    fn timesteps_have_the_distribution_asked_for() {
        // Of 4,000 draws, the share below t = 250: uniform 1/4; logit-normal P(n < ln(1/3)) = 0.136.
        for (timesteps, expected) in [(Timesteps::Uniform, 0.25), (Timesteps::LogitNormal, 0.136)] {
            let draws = draws(timesteps, NoiseSharing::Shared);
            let below = (0..4000).filter(|&example| draw(&draws, example, 0).timestep < 250).count();
            let share = below as f64 / 4000.0;
            assert!((share - expected).abs() < 0.025, "{timesteps:?}: {share}");
        }
    }
}
