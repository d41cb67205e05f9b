//! Causal models as policies and learners of the token MDP.

use mdp::token::{TokenMdp, TokenState};
use mdp::{Channels, Episode, EpisodeOf, Mdp, Rng};
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::decoder::Pass;
use super::draw::{Sampling, top_proposals};
use super::generate::host_logits;
use super::learn::TokenTape;
use super::model::CausalLm;
use super::packing::Packing;
use crate::ModelError;
use policies::{BoxError, Learner, Policy, Proposal, VisitGradient};

/// States whose next token is asked for together; bounds the logits in memory.
const STATES: usize = 64;

impl CausalLm {
    /// The logits of the next token of each state.
    fn next_logits(&self, mdp: &TokenMdp, states: &[TokenState]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.check_vocabulary(mdp)?;
        let mut all = Vec::with_capacity(states.len());
        for states in states.chunks(STATES) {
            let packing = Packing::of_states(states, self.limits())?;
            let hidden = self.decoder.hidden(packing.reading(), &mut &packing.forest, Pass::Scoring)?;
            let rows = host_logits(&self.decoder.logits(&hidden, Pass::Scoring)?)?;
            let row = |&query: &u32| rows[packing.queries[query as usize].0 as usize].clone();
            all.extend(packing.query_of.iter().map(row));
        }
        Ok(all)
    }

    fn check_vocabulary(&self, mdp: &TokenMdp) -> Result<(), ModelError> {
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
    ) -> Result<Vec<Vec<Proposal<u32>>>, BoxError> {
        let logits = self.next_logits(mdp, states)?;
        Ok(logits.iter().map(|logits| top_proposals(logits, mdp.vocabulary as usize, k)).collect())
    }

    fn sample(&self, mdp: &TokenMdp, states: &[TokenState], rng: &mut Rng) -> Result<Vec<u32>, BoxError> {
        let sampling = Sampling { vocabulary: Some(mdp.vocabulary as usize), ..Sampling::default() };
        let logits = self.next_logits(mdp, states)?;
        let draws = logits.iter().enumerate().map(|(episode, logits)| {
            let not_finite = || ModelError::not_finite("a logit", episode, 0, f64::NAN);
            Ok(sampling.draw(logits, rng).ok_or_else(not_finite)?)
        });
        draws.collect()
    }

    fn score(&self, _mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<Channels, BoxError> {
        Ok(self.score_episodes(episodes)?)
    }

    fn rollout(
        &self,
        mdp: &TokenMdp,
        starts: &[TokenState],
        rng: &mut Rng,
    ) -> Result<Vec<EpisodeOf<TokenMdp>>, BoxError> {
        self.check_vocabulary(mdp)?;
        let prompts: Vec<Vec<u32>> = starts.iter().map(|start| start.tokens().collect()).collect();
        let room = |start: &TokenState| if mdp.is_terminal(start) { 0 } else { mdp.max_length - start.len() };
        let longest: Vec<usize> = starts.iter().map(room).collect();
        let sampling =
            Sampling { eos: mdp.eos.clone(), vocabulary: Some(mdp.vocabulary as usize), ..Sampling::default() };
        let mut rngs: Vec<Rng> = starts.iter().map(|_| Rng::seed_from_u64(rng.next_u64())).collect();
        let responses = self.generate_within(&prompts, &longest, &sampling, &mut rngs)?;
        Ok(starts.iter().zip(responses).map(|(start, tokens)| Episode::whole(start.clone(), tokens)).collect())
    }
}

impl Learner<TokenMdp> for CausalLm {
    type Tape = TokenTape;

    fn forward(&self, _mdp: &TokenMdp, episodes: &[EpisodeOf<TokenMdp>]) -> Result<(Channels, TokenTape), BoxError> {
        Ok(self.forward_episodes(episodes)?)
    }

    fn backward(&mut self, tape: TokenTape, slopes: &Channels) -> Result<(), BoxError> {
        Ok(self.backward_tape(tape, slopes)?)
    }

    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), BoxError> {
        self.decoder.visit_gradients(visit)
    }

    fn gradient_norm(&self) -> Result<f64, BoxError> {
        Ok(self.decoder.gradient_norm()?)
    }

    fn scale_gradient(&mut self, factor: f64) -> Result<(), BoxError> {
        Ok(self.decoder.scale_gradient(factor)?)
    }

    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, BoxError> {
        Ok(self.decoder.update(rate, max_gradient_norm)?)
    }
}
