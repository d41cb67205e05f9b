use std::any::Any;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use mdp::chance::fork;
use mdp::{Channels, EpisodeOf, Mdp, Rng};

use crate::cursor::{Cursor, Replay, act};

/// The error of any policy. Each policy has its own type; callers only report it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A visitor that reads, and may change, a gradient: the parameter's name and its values.
pub type VisitGradient<'v> = dyn FnMut(&str, &mut [f64]) -> Result<(), BoxError> + 'v;

/// A candidate action.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal<A> {
    /// The action.
    pub action: A,
    /// log pi(a|s), in nats.
    pub log_prob: f64,
    /// Probability of making this proposal: pi(a|s) for the exact top k of a finite policy, 1/k for k draws.
    pub prior: f64,
}

impl<A> Proposal<A> {
    /// Converts the action.
    pub fn map<B>(self, action: impl FnOnce(A) -> B) -> Proposal<B> {
        Proposal { action: action(self.action), log_prob: self.log_prob, prior: self.prior }
    }
}

/// A model of a problem's decisions: it scores episodes, proposes actions and samples.
///
/// # Laws
/// `score` of an episode that `rollout` sampled is finite, and does not depend on the rest of the batch (to rounding).
/// The same generator state gives the same actions.
pub trait Policy<M: Mdp> {
    /// Returns up to `k` candidate actions for each state: the exact top k of a finite policy, best first; k draws of a
    /// continuous one.
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, BoxError>;

    /// Draws one action for each state.
    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, BoxError>;

    /// Scores every decision; keeps nothing for a backward pass.
    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, BoxError>;

    /// Opens a cursor at states, to act step by step. Override it where later steps can reuse earlier ones, as a
    /// language model reuses keys and values.
    ///
    /// # Errors
    /// States that the policy can't act in.
    fn cursor<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Cursor<M> + 'a>, BoxError> {
        Ok(Box::new(Replay::new(self, mdp, states)))
    }

    /// A fingerprint of all that the policy's numbers depend on, for the keys of caches and runs; `None` if it has none.
    ///
    /// # Errors
    /// The weights can't be read.
    fn identity(&self) -> Result<Option<String>, BoxError> {
        Ok(None)
    }

    /// The policy as a concrete type, for learners that compute with a reference of their own kind
    /// ([`Learner::provide_divergence`]); `None` for others.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Samples an episode from each state to its end, each with a generator seeded from `rng`.
    fn rollout(&self, mdp: &M, starts: &[M::State], rng: &mut Rng) -> Result<Vec<EpisodeOf<M>>, BoxError> {
        let mut rngs: Vec<Rng> = starts.iter().map(|_| fork(rng)).collect();
        let longest = vec![usize::MAX; starts.len()];
        act(mdp, self.cursor(mdp, starts)?, &longest, &mut rngs, &mut |_| Ok(()))
    }
}

/// A shared policy is the policy.
impl<M: Mdp, P: Policy<M> + ?Sized> Policy<M> for Arc<P> {
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, BoxError> {
        self.as_ref().propose(mdp, states, k, rng)
    }

    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, BoxError> {
        self.as_ref().sample(mdp, states, rng)
    }

    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, BoxError> {
        self.as_ref().score(mdp, episodes)
    }

    fn cursor<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Cursor<M> + 'a>, BoxError> {
        self.as_ref().cursor(mdp, states)
    }

    fn identity(&self) -> Result<Option<String>, BoxError> {
        self.as_ref().identity()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.as_ref().as_any()
    }

    fn rollout(&self, mdp: &M, starts: &[M::State], rng: &mut Rng) -> Result<Vec<EpisodeOf<M>>, BoxError> {
        self.as_ref().rollout(mdp, starts, rng)
    }
}

/// A policy that can be trained: it learns from slopes on its own numbers.
///
/// # Laws
/// `forward` gives the numbers of `score`. `backward` adds exactly the sum of slope times d(number)/d(parameter) for
/// every trainable parameter, so calls with parts equal one call with the whole.
pub trait Learner<M: Mdp>: Policy<M> {
    /// The activations that `backward` needs of a `forward`.
    type Tape;

    /// Scores every decision and keeps a tape for the backward pass.
    fn forward(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<(Channels, Self::Tape), BoxError>;

    /// Backpropagates slopes and adds to the gradient.
    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), BoxError>;

    /// Provides the divergence channel, KL(reference || policy) in every state, for objectives that need it; trainers
    /// call it before the first step. A reference that the learner already has stays.
    ///
    /// # Errors
    /// The policy has no such channel (the default), or can't compute it with this reference.
    fn provide_divergence(&mut self, _reference: Option<&dyn Policy<M>>) -> Result<(), BoxError> {
        Err("the objective needs the divergence from the reference, and this policy has no such channel".into())
    }

    /// Passes the accumulated gradient to `visit`, parameter by parameter; values written there replace it.
    /// Data-parallel learners sum their gradients this way.
    ///
    /// Every trainable parameter is visited, always in the same order; one without a gradient has zeros.
    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), BoxError>;

    /// The norm of the gradient accumulated since the last update.
    fn gradient_norm(&self) -> Result<f64, BoxError>;

    /// The gradient norms of the parts of a composite policy, by name; empty for others.
    fn gradient_norms(&self) -> Result<Vec<(&'static str, f64)>, BoxError> {
        Ok(Vec::new())
    }

    /// Multiplies the accumulated gradient.
    fn scale_gradient(&mut self, factor: f64) -> Result<(), BoxError> {
        self.visit_gradients(&mut |_, slopes| {
            for slope in slopes.iter_mut() {
                *slope *= factor;
            }
            Ok(())
        })
    }

    /// Clips the gradient to `max_gradient_norm`, takes one optimiser step of size `rate` and clears the gradient.
    /// Returns the norm before clipping. If the norm is not finite, no weight changes.
    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, BoxError>;
}

/// A learner whose training can be stopped and resumed.
pub trait Persist {
    /// Writes the state for an exact resume (weights, optimiser state) into an existing folder.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError>;

    /// Restores that state.
    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError>;

    /// Writes the policy in its ecosystem's format (a Hugging Face folder, a PEFT adapter) into an existing folder.
    fn export(&self, folder: &Path) -> Result<(), BoxError>;

    /// A fingerprint of the weights, for cache keys.
    fn fingerprint(&self) -> Result<String, BoxError>;
}
