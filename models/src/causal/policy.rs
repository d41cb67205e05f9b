//! Implements `Policy` and `Learner` for causal models in the token MDP.

use std::any::Any;
use std::sync::Arc;

use mdp::chance::fork;
use mdp::token::{TokenMdp, TokenState};
use mdp::{Channels, EpisodeOf, Rng};

use super::cursor::TokenCursor;
use super::draw::host_logits;
use super::draw::{GenerationConfig, top_proposals};
use super::learn::TokenTape;
use super::model::CausalLm;
use super::packing::Packing;
use crate::ModelError;
use policies::{Cursor, Learner, Peers, Persist, Policy, PolicyError, Proposal, Shares, VisitGradient, VisitSingle};

/// States per batch of next-token logits; bounds the memory of logits.
const STATES: usize = 64;

impl CausalLm {
    /// Sets the default sampling parameters: temperature, top-k, top-p. EOS tokens are the problem's.
    #[must_use]
    pub fn acting(mut self, sampling: GenerationConfig) -> Self {
        self.acting = sampling;
        self
    }

    /// Opens a cursor with the given sampling parameters: [`Policy::cursor`] uses the model's own.
    ///
    /// # Errors
    /// Invalid parameters; a state that is empty, too long, or has tokens outside the vocabulary.
    pub fn cursor_by<'a>(
        &'a self,
        mdp: &'a TokenMdp,
        states: &[TokenState],
        sampling: &GenerationConfig,
    ) -> Result<Box<dyn Cursor<TokenMdp> + 'a>, PolicyError> {
        Ok(Box::new(TokenCursor::open(self, mdp, states, sampling)?))
    }

    /// The number of tokens that a pass over these episodes computes: those that episodes share at their beginning, the
    /// prompt first of all, count once.
    ///
    /// # Errors
    /// As [`Policy::score`].
    pub fn n_computed_tokens(&self, episodes: &[EpisodeOf<TokenMdp>]) -> Result<usize, ModelError> {
        Ok(Packing::of_episodes(episodes, self.limits())?.tokens.len())
    }

    /// The next-token logits of each state.
    pub(super) fn next_logits(&self, mdp: &TokenMdp, states: &[TokenState]) -> Result<Vec<Arc<Vec<f32>>>, ModelError> {
        self.check_vocabulary(mdp)?;
        self.next_logits_of(states)
    }

    /// The same, of states whose problem was checked.
    pub(super) fn next_logits_of(&self, states: &[TokenState]) -> Result<Vec<Arc<Vec<f32>>>, ModelError> {
        let mut all = Vec::with_capacity(states.len());
        for states in states.chunks(STATES) {
            let packing = Packing::of_states(states, self.limits())?;
            let rows = host_logits(&self.packed_logits(&packing)?)?;
            let row = |&query: &u32| Arc::clone(&rows[packing.queries[query as usize].0 as usize]);
            all.extend(packing.query_of.iter().map(row));
        }
        Ok(all)
    }

    /// The log-partition of each state, in nats: the logarithm of the sum of its exponentiated logits over all tokens.
    ///
    /// Where Q is beta times the logits, beta times this is the soft value V (Eq. 6 of the paper). Logits may be shifted
    /// without a change of the policy, and this moves with them.
    ///
    /// # Shapes
    /// One number a state; the logits of at most 64 states are in memory at once.
    ///
    /// # Errors
    /// As [`Policy::propose`], and logits that are not finite.
    pub fn log_partitions(&self, mdp: &TokenMdp, states: &[TokenState]) -> Result<Vec<f64>, ModelError> {
        let mut all = Vec::with_capacity(states.len());
        for states in states.chunks(STATES) {
            for logits in self.next_logits(mdp, states)? {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
                let value = f64::from(most) + sum.ln();
                if !value.is_finite() {
                    return Err(ModelError::not_finite("a log-partition", all.len(), 0, value));
                }
                all.push(value);
            }
        }
        Ok(all)
    }

    pub(super) fn check_vocabulary(&self, mdp: &TokenMdp) -> Result<(), ModelError> {
        let known = self.config().vocabulary;
        if mdp.vocabulary == 0 || mdp.vocabulary as usize > known {
            return Err(ModelError::Argument {
                what: "the vocabulary of the problem".into(),
                expected: format!("1 to {known} tokens, which the model knows"),
                got: mdp.vocabulary.to_string(),
            });
        }
        Ok(())
    }
}

impl Policy<TokenMdp> for CausalLm {
    fn propose(
        &self,
        mdp: &TokenMdp,
        states: &[TokenState],
        k: usize,
        _rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<u32>>>, PolicyError> {
        let logits = self.next_logits(mdp, states)?;
        Ok(logits.iter().map(|logits| top_proposals(logits, mdp.vocabulary as usize, k)).collect())
    }

    fn sample(&self, mdp: &TokenMdp, states: &[TokenState], rng: &mut Rng) -> Result<Vec<u32>, PolicyError> {
        let sampling = self.acting.within(mdp)?;
        let logits = self.next_logits(mdp, states)?;
        let draws = logits.iter().zip(states).enumerate().map(|(episode, (logits, state))| {
            let not_finite = || ModelError::not_finite("a logit", episode, 0, f64::NAN);
            Ok(sampling.draw(logits, state.tokens(), rng).ok_or_else(not_finite)?)
        });
        draws.collect()
    }

    fn score(&self, _mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<Channels, PolicyError> {
        Ok(self.score_episodes(episodes)?)
    }

    fn cursor<'a>(
        &'a self,
        mdp: &'a TokenMdp,
        states: &[TokenState],
    ) -> Result<Box<dyn Cursor<TokenMdp> + 'a>, PolicyError> {
        self.cursor_by(mdp, states, &self.acting)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn identity(&self) -> Result<Option<String>, PolicyError> {
        Ok(Some(Persist::fingerprint(self)?))
    }

    fn rollout(
        &self,
        mdp: &TokenMdp,
        starts: &[TokenState],
        rng: &mut Rng,
    ) -> Result<Vec<EpisodeOf<TokenMdp>>, PolicyError> {
        self.check_vocabulary(mdp)?;
        let sampling = self.acting.within(mdp)?;
        let mut rngs: Vec<Rng> = starts.iter().map(|_| fork(rng)).collect();
        Ok(self.act_from(mdp, starts, &vec![usize::MAX; starts.len()], &sampling, &mut rngs, &mut |_| false)?)
    }
}

impl Learner<TokenMdp> for CausalLm {
    type Tape = TokenTape;

    fn forward(&self, _mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<(Channels, TokenTape), PolicyError> {
        Ok(self.forward_episodes(episodes)?)
    }

    fn backward(&mut self, tape: TokenTape, slopes: &Channels) -> Result<(), PolicyError> {
        Ok(self.backward_tape(tape, slopes)?)
    }

    /// The reference is another language model with the same vocabulary; the two share no state, and the weights are
    /// not copied.
    fn provide_divergence(&mut self, reference: Option<&dyn Policy<TokenMdp>>) -> Result<(), PolicyError> {
        if self.reference.is_some() {
            return Ok(());
        }
        let reference = reference.and_then(|reference| reference.as_any()?.downcast_ref::<Self>());
        let missing = "the objective needs the divergence from the reference, which must be a language model";
        Ok(self.diverge_from(Arc::new(reference.ok_or(missing)?.view()))?)
    }

    fn provide_collision(&mut self) -> Result<(), PolicyError> {
        self.with_collision = true;
        Ok(())
    }

    fn follow(&mut self, decay: f64) -> Result<(), PolicyError> {
        self.decoder.follow(decay)?;
        Ok(self.refresh_follower()?)
    }

    fn score_following(&self, mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<Channels, PolicyError> {
        self.follower.as_ref().ok_or("the model keeps no average of its weights")?.score(mdp, episodes)
    }

    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError> {
        self.decoder.visit_gradients(visit)
    }

    fn has_single_gradients(&self) -> bool {
        self.decoder.has_single_gradients()
    }

    fn visit_single_gradients(&mut self, visit: &mut VisitSingle<'_>) -> Result<(), PolicyError> {
        self.decoder.visit_single_gradients(visit)
    }

    fn join(&mut self, peers: &dyn Peers) -> Result<(), PolicyError> {
        Ok(self.decoder.join(peers)?)
    }

    fn sums_gradient(&self) -> bool {
        self.decoder.sums_gradient()
    }

    fn sum_gradient(&mut self) -> Result<(), PolicyError> {
        Ok(self.decoder.sum_gradient()?)
    }

    fn gradient_norm(&self) -> Result<f64, PolicyError> {
        Ok(self.decoder.gradient_norm()?)
    }

    fn scale_gradient(&mut self, factor: f64) -> Result<(), PolicyError> {
        Ok(self.decoder.scale_gradient(factor)?)
    }

    fn discard_gradient(&mut self) -> Result<(), PolicyError> {
        Ok(self.decoder.discard_gradient()?)
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError> {
        let norm = self.decoder.update(rate, max_gradient_norm)?;
        self.refresh_follower()?;
        Ok(norm)
    }

    fn update_share(
        &mut self,
        rate: f64,
        max_gradient_norm: Option<f64>,
        shares: &dyn Shares,
    ) -> Result<f64, PolicyError> {
        let norm = self.decoder.update_share(rate, max_gradient_norm, shares)?;
        self.refresh_follower()?;
        Ok(norm)
    }
}
