//! Implements `Policy` and `Learner` for denoisers.

use engine::transfer::to_host;
use std::sync::Arc;

use mdp::chance::fork;
use mdp::diffusion::DenoisingAction;
use mdp::{Channels, EpisodeOf, Rng};

use super::batch::{NetworkQuery, network_batch};
use super::cursor::DenoisingCursor;
use super::learn::DenoiserTape;
use super::model::Denoiser;
use super::{ConditionedMdp, State};
use crate::ModelError;
use crate::sampler::guided;
use policies::{Cursor, Learner, Peers, Persist, Policy, PolicyError, Proposal, Shares, VisitGradient, VisitSingle};

/// Images per network batch.
const AT_ONCE: usize = 32;

impl Denoiser {
    /// The network's predictions, with guidance applied; one per query, flattened.
    pub(super) fn predict(&self, queries: &[NetworkQuery]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut predictions = Vec::with_capacity(queries.len());
        for queries in queries.chunks(AT_ONCE) {
            let own = self.evaluate(queries)?;
            let Some((scale, empty)) = &self.acting.guidance else {
                predictions.extend(own);
                continue;
            };
            let away = |query: &NetworkQuery| NetworkQuery { condition: Arc::clone(empty), ..query.clone() };
            let others = self.evaluate(&queries.iter().map(away).collect::<Vec<_>>())?;
            predictions.extend(own.iter().zip(&others).map(|(own, other)| guided(own, other, *scale as f32)));
        }
        Ok(predictions)
    }

    fn evaluate(&self, queries: &[NetworkQuery]) -> Result<Vec<Vec<f32>>, ModelError> {
        let batch = network_batch(queries, self.shape, (self.dtype(), &self.device()))?;
        let prediction = self.network.score(&batch)?;
        let flat = to_host::<f32>(&prediction)?;
        if let Some((index, value)) = flat.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            let episode = index / self.shape.size();
            let what = format!("the prediction at time {}", queries[episode].time);
            return Err(ModelError::not_finite(what, episode, 0, f64::from(*value)));
        }
        Ok(flat.chunks_exact(self.shape.size()).map(<[f32]>::to_vec).collect())
    }
}

/// Single states are evaluated by a cursor opened there, with a generator per state seeded from `rng`.
impl Policy<ConditionedMdp> for Denoiser {
    fn propose(
        &self,
        mdp: &ConditionedMdp,
        states: &[State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<DenoisingAction>>>, PolicyError> {
        self.cursor(mdp, states)?.expand(k, &mut seeded(states.len(), rng).iter_mut().collect::<Vec<_>>())
    }

    fn sample(
        &self,
        mdp: &ConditionedMdp,
        states: &[State],
        rng: &mut Rng,
    ) -> Result<Vec<DenoisingAction>, PolicyError> {
        self.cursor(mdp, states)?.draw(&mut seeded(states.len(), rng).iter_mut().collect::<Vec<_>>())
    }

    fn score(&self, mdp: &ConditionedMdp, episodes: &[EpisodeOf<ConditionedMdp>]) -> Result<Channels, PolicyError> {
        Ok(self.score_episodes(mdp, episodes)?)
    }

    fn cursor<'a>(
        &'a self,
        mdp: &'a ConditionedMdp,
        states: &[State],
    ) -> Result<Box<dyn Cursor<ConditionedMdp> + 'a>, PolicyError> {
        let sampling = self.acting.sampling(mdp, self.prediction)?;
        Ok(Box::new(DenoisingCursor::open(self, mdp, states, sampling, 1.0)?))
    }

    /// Covers the sampler: log-densities of latents depend on it.
    fn identity(&self) -> Result<Option<String>, PolicyError> {
        Ok(Some(format!("{} {:?}", Persist::fingerprint(self)?, self.acting)))
    }
}

fn seeded(n: usize, rng: &mut Rng) -> Vec<Rng> {
    (0..n).map(|_| fork(rng)).collect()
}

impl Learner<ConditionedMdp> for Denoiser {
    type Tape = DenoiserTape;

    fn forward(
        &self,
        mdp: &ConditionedMdp,
        episodes: &[EpisodeOf<ConditionedMdp>],
    ) -> Result<(Channels, DenoiserTape), PolicyError> {
        Ok(self.forward_episodes(mdp, episodes)?)
    }

    fn backward(&mut self, tape: DenoiserTape, slopes: &Channels) -> Result<(), PolicyError> {
        Ok(self.backward_tape(tape, slopes)?)
    }

    fn output_products(&self, tape: &DenoiserTape, pairs: &[[(usize, usize); 2]]) -> Result<Vec<f64>, PolicyError> {
        Ok(self.products(tape, pairs)?)
    }

    fn follow(&mut self, decay: f64) -> Result<(), PolicyError> {
        self.network.follow(decay)?;
        Ok(self.refresh_follower()?)
    }

    fn score_following(
        &self,
        mdp: &ConditionedMdp,
        episodes: &[EpisodeOf<ConditionedMdp>],
    ) -> Result<Channels, PolicyError> {
        self.follower.as_ref().ok_or("the denoiser keeps no average of its weights")?.score(mdp, episodes)
    }

    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        self.network.visit_gradients(visit)
    }

    fn has_single_gradients(&self) -> bool {
        self.network.has_single_gradients()
    }

    fn visit_single_gradients(&mut self, visit: &mut VisitSingle<'_>) -> Result<(), PolicyError> {
        self.network.visit_single_gradients(visit)
    }

    fn join(&mut self, peers: &dyn Peers) -> Result<(), PolicyError> {
        Ok(self.network.join(peers)?)
    }

    fn sums_gradient(&self) -> bool {
        self.network.sums_gradient()
    }

    fn sum_gradient(&mut self) -> Result<(), PolicyError> {
        Ok(self.network.sum_gradient()?)
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        Ok(self.network.gradient_norm()?)
    }

    fn scale_gradient(&mut self, factor: f64) -> Result<(), PolicyError> {
        Ok(self.network.scale_gradient(factor)?)
    }

    fn discard_gradient(&mut self) -> Result<(), PolicyError> {
        Ok(self.network.discard_gradient()?)
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        let norm = self.network.update(rate, max_gradient_norm)?;
        self.refresh_follower()?;
        Ok(norm)
    }

    fn update_share(
        &mut self,
        rate: f64,
        max_gradient_norm: Option<f64>,
        shares: &dyn Shares,
    ) -> Result<f64, PolicyError> {
        let norm = self.network.update_share(rate, max_gradient_norm, shares)?;
        self.refresh_follower()?;
        Ok(norm)
    }
}
