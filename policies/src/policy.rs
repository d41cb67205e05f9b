use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use mdp::chance::fork;
use mdp::{Channels, EpisodeOf, Mdp, Rng};

use crate::cursor::{Cursor, Replay, act};

/// Any policy's error: each policy has its own type, and callers only report it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What looks at a gradient, and may change it: a parameter's name, and its slopes.
pub type VisitGradient<'v> = dyn FnMut(&str, &mut [f64]) -> Result<(), BoxError> + 'v;

/// A candidate action.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal<A> {
    /// The action.
    pub action: A,
    /// log pi(a|s), in nats.
    pub log_prob: f64,
    /// How likely the proposal was to be made: pi(a|s) for the exact top k of a finite policy, 1/k for k draws.
    pub prior: f64,
}

impl<A> Proposal<A> {
    /// The same of another kind of action.
    pub fn map<B>(self, action: impl FnOnce(A) -> B) -> Proposal<B> {
        Proposal { action: action(self.action), log_prob: self.log_prob, prior: self.prior }
    }
}

/// Gives numbers: the log-probability of each decision, candidate actions, whole episodes.
///
/// # Laws
/// `score` of an episode that `rollout` made is finite, and is the same whatever else is in the batch (to rounding).
/// The same generator state gives the same actions.
pub trait Policy<M: Mdp> {
    /// Up to `k` candidate actions for each state: the exact top k of a finite policy, best first; k draws of a
    /// continuous one.
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, BoxError>;

    /// One action for each state, drawn from the policy.
    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, BoxError>;

    /// The numbers of every decision; nothing is kept for a backward pass.
    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, BoxError>;

    /// Opens at states, to act from them step by step. Policies for which the next step is cheaper than the first override it: a
    /// language model keeps its keys and values.
    ///
    /// # Errors
    /// States that the policy can't act in.
    fn cursor<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Cursor<M> + 'a>, BoxError> {
        Ok(Box::new(Replay::new(self, mdp, states)))
    }

    /// Acts from each state to the end, each from a generator that `rng` seeds.
    fn rollout(&self, mdp: &M, starts: &[M::State], rng: &mut Rng) -> Result<Vec<EpisodeOf<M>>, BoxError> {
        let mut rngs: Vec<Rng> = starts.iter().map(|_| fork(rng)).collect();
        let longest = vec![usize::MAX; starts.len()];
        act(mdp, self.cursor(mdp, starts)?, &longest, &mut rngs, &mut |_| Ok(()))
    }
}

/// What is shared gives the same numbers.
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

    fn rollout(&self, mdp: &M, starts: &[M::State], rng: &mut Rng) -> Result<Vec<EpisodeOf<M>>, BoxError> {
        self.as_ref().rollout(mdp, starts, rng)
    }
}

/// A policy that learns from slopes on its own numbers.
///
/// # Laws
/// `forward` gives the numbers of `score`. `backward` adds exactly the sum of slope times d(number)/d(parameter), for
/// every trainable parameter, so two calls with parts equal one with the whole.
pub trait Learner<M: Mdp>: Policy<M> {
    /// What `backward` needs of a `forward`.
    type Tape;

    /// The numbers of every decision, and what it takes to learn from them.
    fn forward(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<(Channels, Self::Tape), BoxError>;

    /// Adds to the gradient.
    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), BoxError>;

    /// Hands what was gathered to `visit`, parameter by parameter; what is written there takes its place. Learners of
    /// several processes add up their gradients like this.
    ///
    /// Every parameter that learns is visited, always in the same order; one that has got no gradient has slopes of 0.
    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), BoxError>;

    /// The norm of what was gathered since the last update.
    fn gradient_norm(&self) -> Result<f64, BoxError>;

    /// The norms of its parts by name, of a policy that is made of several; of others, none.
    fn gradient_norms(&self) -> Result<Vec<(&'static str, f64)>, BoxError> {
        Ok(Vec::new())
    }

    /// Multiplies what was gathered.
    fn scale_gradient(&mut self, factor: f64) -> Result<(), BoxError> {
        self.visit_gradients(&mut |_, slopes| {
            for slope in slopes.iter_mut() {
                *slope *= factor;
            }
            Ok(())
        })
    }

    /// Scales the gathered gradient down to `max_gradient_norm` where it is longer, takes one optimiser step of size
    /// `rate` and forgets the gradient. Returns the gradient's norm before scaling. A norm that is not finite moves
    /// nothing.
    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, BoxError>;
}

/// A learner whose training can be stopped and taken up again.
pub trait Persist {
    /// Writes everything resuming to the bit needs (weights, optimiser state) into an existing folder.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), BoxError>;

    /// Takes it back.
    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), BoxError>;

    /// Writes the policy as its ecosystem lays it out (a Hugging Face folder, a PEFT adapter) into an existing folder.
    fn export(&self, folder: &Path) -> Result<(), BoxError>;

    /// A fingerprint of the weights, for keys of caches.
    fn fingerprint(&self) -> Result<String, BoxError>;
}
