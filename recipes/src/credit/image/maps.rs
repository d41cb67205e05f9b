//! The reward of pictures by draw and by place, of two denoisers' errors.
use mdp::EpisodeOf;
use models::denoiser::Denoiser;
use policies::BoxError;
use train::diffusion::ImageMdp;

use crate::credit::steps::bin;

/// A denoiser and its reference, whose errors are compared.
#[derive(Clone, Copy)]
pub(in crate::credit) struct Errors<'a> {
    pub(in crate::credit) mdp: &'a ImageMdp,
    pub(in crate::credit) policy: &'a Denoiser,
    pub(in crate::credit) reference: &'a Denoiser,
    /// What multiplies a decision's weight: beta, where the weights have none.
    pub(in crate::credit) beta: f64,
    /// Equal parts of the timesteps.
    pub(in crate::credit) bins: usize,
}

/// The reward of a picture, split. Maps are row by row, a number a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::credit) struct RewardMaps {
    /// The timestep of each draw.
    pub(in crate::credit) timesteps: Vec<usize>,
    /// The part of each draw: they add up to the reward.
    pub(in crate::credit) of_draws: Vec<f64>,
    /// The part of each place: they add up to the reward.
    pub(in crate::credit) reward: Vec<f64>,
    /// By part of the timesteps, the map if all draws were there; `None` without draws.
    pub(in crate::credit) by_steps: Vec<Option<Vec<f64>>>,
    /// The squared error of the policy at each place, summed over draws.
    pub(in crate::credit) error: Vec<f64>,
    /// The same of the reference.
    pub(in crate::credit) reference_error: Vec<f64>,
}

impl Errors<'_> {
    /// Splits the rewards of episodes: beta times weight times the reference's error less the policy's, at the same
    /// timestep and noise.
    ///
    /// # Errors
    /// As scoring.
    pub(in crate::credit) fn split(&self, episodes: &[EpisodeOf<ImageMdp>]) -> Result<Vec<RewardMaps>, BoxError> {
        let own = self.policy.error_maps(self.mdp, episodes)?;
        let other = self.reference.error_maps(self.mdp, episodes)?;
        let pairs = own.into_iter().zip(other);
        Ok(episodes.iter().zip(pairs).map(|(episode, (own, other))| self.of_episode(episode, &own, &other)).collect())
    }

    fn of_episode(&self, episode: &EpisodeOf<ImageMdp>, own: &[Vec<f64>], other: &[Vec<f64>]) -> RewardMaps {
        let places = own.first().map_or(0, Vec::len);
        let timesteps: Vec<usize> = episode.pieces.iter().filter_map(|piece| self.mdp.timestep(&piece.start)).collect();
        let (mut of_bins, mut counts) = (vec![vec![0.0; places]; self.bins], vec![0.0; self.bins]);
        let mut maps = RewardMaps {
            timesteps,
            reward: vec![0.0; places],
            error: vec![0.0; places],
            reference_error: vec![0.0; places],
            ..RewardMaps::default()
        };
        for (draw, weight) in episode.weights().into_iter().enumerate() {
            let bin = bin(maps.timesteps[draw], self.bins, self.mdp.schedule.len());
            counts[bin] += 1.0;
            let mut sum = 0.0;
            for place in 0..places {
                let (own, other) = (own[draw][place], other[draw][place]);
                let reward = self.beta * weight * (other - own);
                sum += reward;
                maps.reward[place] += reward;
                of_bins[bin][place] += reward;
                maps.error[place] += own;
                maps.reference_error[place] += other;
            }
            maps.of_draws.push(sum);
        }
        let all = maps.of_draws.len() as f64;
        let scaled = |(map, n): (Vec<f64>, f64)| (n > 0.0).then(|| map.iter().map(|part| part * all / n).collect());
        maps.by_steps = of_bins.into_iter().zip(counts).map(scaled).collect();
        maps
    }
}
