use std::marker::PhantomData;
use std::sync::Arc;

use mdp::chance::{self, Noise};
use mdp::diffusion::Condition;
use mdp::diffusion::{DenoisingAction, DenoisingState, Latent};
use mdp::{Channels, Episode, EpisodeOf, Piece};
use objectives::Scores;
use policies::{BoxError, Policy};

use super::measures::measure;
use super::source::{hash_condition, hash_numbers};
use super::{FromImages, ImageMdp, Units};
use crate::source::spread;
use crate::step::Slice;
use crate::{Item, Measures, Source};

/// Recorded reverse trajectories and the preferences between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectories {
    /// The condition of each trajectory.
    pub conditions: Vec<Condition>,
    /// The latents of each trajectory: the noise, then one after every decision.
    pub latents: Vec<Vec<Latent>>,
    /// The log-density of each decision under the behaviour policy, in nats; empty if unknown.
    pub behaviour: Vec<Vec<f64>>,
    /// The better and the worse trajectory of each pair.
    pub pairs: Vec<(usize, usize)>,
}

/// Number of decisions scored at once in [`Trajectories::importance`].
const AT_ONCE: usize = 16;

impl Trajectories {
    /// Trajectory `i` from its noise on, as episodes of a bounded number of decisions.
    fn parts(&self, i: usize) -> impl Iterator<Item = EpisodeOf<ImageMdp>> + '_ {
        self.latents[i][1..].chunks(AT_ONCE).enumerate().map(move |(part, latents)| {
            let actions = latents.iter().map(|latent| DenoisingAction::Next(Arc::clone(latent)));
            Episode::whole(self.state(i, part * AT_ONCE), actions.collect())
        })
    }

    fn state(&self, i: usize, done: usize) -> DenoisingState<Condition> {
        let latent = Some(Arc::clone(&self.latents[i][done]));
        DenoisingState { context: Arc::clone(&self.conditions[i]), latent, done }
    }

    /// Per-decision importance weights, truncated at `most`: the likelihood ratio of `policy` to the behaviour policy
    /// over the trajectory up to each decision. They turn sums over recorded decisions into estimates of sums over the
    /// policy's own. Without a limit the estimate is unbiased, but its variance grows with the number of decisions.
    ///
    /// # Errors
    /// An error of the policy; trajectories without behaviour log-densities.
    pub fn importance(
        &self,
        policy: &dyn Policy<ImageMdp>,
        mdp: &ImageMdp,
        most: f64,
    ) -> Result<Vec<Vec<f64>>, BoxError> {
        if self.behaviour.len() != self.latents.len() {
            return Err("these trajectories hold no log-densities of the policy that made them".into());
        }
        let mut weights = Vec::with_capacity(self.latents.len());
        for i in 0..self.latents.len() {
            let mut own = Vec::with_capacity(self.behaviour[i].len());
            for part in self.parts(i) {
                let Channels { log_probs, .. } = policy.score(mdp, &[part])?;
                own.extend_from_slice(log_probs.row(0));
            }
            let mut log_weight = 0.0;
            let ratios = own.iter().zip(&self.behaviour[i]);
            let weight = ratios.map(|(own, behaviour)| {
                log_weight += own - behaviour;
                log_weight.exp().min(most)
            });
            weights.push(weight.collect());
        }
        Ok(weights)
    }
}

/// A training source of trajectory pairs.
#[derive(Debug)]
pub struct TrajectorySource<'a, F> {
    trajectories: &'a Trajectories,
    mdp: ImageMdp,
    units: Units,
    seed: u64,
    /// Number of decisions per trajectory inside one sigmoid; all if `None`.
    per_example: Option<usize>,
    /// Whether each decision is a separate comparison (D3PO) instead of a term of one return.
    by_decision: bool,
    importance: Option<Vec<Vec<f64>>>,
    feedback: PhantomData<fn() -> F>,
}

impl<'a, F: FromImages> TrajectorySource<'a, F> {
    /// Creates a source of whole trajectories; `mdp` has the timesteps they were sampled with.
    pub fn new(trajectories: &'a Trajectories, mdp: ImageMdp, units: Units, seed: u64) -> Self {
        let (per_example, by_decision, importance) = (None, false, None);
        Self { trajectories, mdp, units, seed, per_example, by_decision, importance, feedback: PhantomData }
    }

    /// Subsamples `k` decisions of each trajectory, the same for both sides, scaled to stand for all.
    #[must_use]
    pub fn with_decisions(mut self, k: usize) -> Self {
        self.per_example = Some(k);
        self
    }

    /// Compares single decisions, as in D3PO.
    #[must_use]
    pub fn by_decision(mut self) -> Self {
        self.by_decision = true;
        self
    }

    /// Weighs each decision by [`Trajectories::importance`].
    #[must_use]
    pub fn with_importance(mut self, weights: Vec<Vec<f64>>) -> Self {
        self.importance = Some(weights);
        self
    }

    fn decisions(&self, index: usize, n: usize) -> Vec<usize> {
        match self.per_example {
            Some(k) if k < n => {
                let rng = &mut Noise::new(self.seed).stream("decisions of a trajectory", index as u64);
                let mut chosen = chance::permutation(rng, n);
                chosen.truncate(k);
                chosen.sort_unstable();
                chosen
            }
            _ => (0..n).collect(),
        }
    }

    fn piece(
        &self,
        i: usize,
        decision: usize,
        (k, n): (usize, usize),
    ) -> Piece<DenoisingState<Condition>, DenoisingAction> {
        let own = self.importance.as_ref().map_or(1.0, |weights| weights[i][decision]);
        let latent = Arc::clone(&self.trajectories.latents[i][decision + 1]);
        Piece {
            start: self.trajectories.state(i, decision),
            actions: vec![DenoisingAction::Next(latent)],
            weight: own * self.units.of_density(self.mdp.size, k, n),
        }
    }
}

impl<F: FromImages> Source for TrajectorySource<'_, F> {
    type Mdp = ImageMdp;
    type Feedback = F;

    const UNIT: &'static str = "decisions";
    const DECISION: &'static str = "decision";

    fn len(&self) -> usize {
        self.trajectories.pairs.len()
    }

    fn item(&self, index: usize) -> Result<Item<ImageMdp, F>, BoxError> {
        let (better, worse) = *self.trajectories.pairs.get(index).ok_or("there is no such pair")?;
        let sides = [better, worse];
        let n = self.trajectories.latents[better].len() - 1;
        let decisions = self.decisions(index, n);
        let sides = &sides[..F::MOST_SIDES.min(2)];
        let (mut episodes, mut feedback) = (Vec::new(), Vec::new());
        if self.by_decision {
            for &decision in &decisions {
                let of_pair = F::from_images(sides.len(), 1.0)?;
                feedback.extend(of_pair.iter().map(|feedback| feedback.shifted(episodes.len())));
                episodes.extend(sides.iter().map(|&i| Episode { pieces: vec![self.piece(i, decision, (1, 1))] }));
            }
        } else {
            feedback.extend(F::from_images(sides.len(), 1.0)?);
            episodes.extend(sides.iter().map(|&i| Episode {
                pieces: decisions.iter().map(|&decision| self.piece(i, decision, (decisions.len(), n))).collect(),
            }));
        }
        Ok(Item { episodes, feedback, size: decisions.len() * sides.len() })
    }

    /// Hashes the trajectories' conditions and last latents.
    fn fingerprint(&self) -> Result<String, BoxError> {
        let mut hasher = blake3::Hasher::new();
        let Self { units, seed, per_example, by_decision, trajectories, .. } = self;
        hasher.update(format!("{units:?} {seed} {per_example:?} {by_decision} {:?}", trajectories.pairs).as_bytes());
        for (better, worse) in spread(self.len()).map(|index| trajectories.pairs[index]) {
            for side in [better, worse] {
                hash_condition(&mut hasher, &trajectories.conditions[side]);
                trajectories.latents[side].last().iter().for_each(|latent| hash_numbers(&mut hasher, latent));
            }
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn measure(&self, slice: &Slice<ImageMdp, F>, scores: Scores<'_>) -> Measures {
        measure(&self.mdp, slice, scores)
    }
}
