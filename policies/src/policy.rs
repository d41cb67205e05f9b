use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use mdp::chance::fork;
use mdp::{Channels, Episode, EpisodeOf, Mdp, Rng};

use crate::cursor::{Cursor, act, one_each, wrong_count};
use crate::{Peers, PolicyError, Proposal, Shares};

/// A visitor that reads, and may change, a gradient: the parameter's name and its values.
pub type VisitGradient<'v> = dyn FnMut(&str, &mut [f64]) -> Result<(), PolicyError> + 'v;

/// A visitor that reads, and may change, the values of a gradient in `f32`.
pub type VisitSingle<'v> = dyn FnMut(&mut [f32]) -> Result<(), PolicyError> + 'v;

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
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError>;

    /// Draws one action for each state.
    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, PolicyError>;

    /// Scores every decision; keeps nothing for a backward pass.
    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError>;

    /// Opens a cursor at states, to act step by step. Override it where later steps can reuse earlier ones, as a
    /// language model reuses keys and values.
    ///
    /// # Errors
    /// States that the policy can't act in.
    fn cursor<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Cursor<M> + 'a>, PolicyError> {
        Ok(Box::new(Replay::new(self, mdp, states)))
    }

    /// A fingerprint of all that the policy's numbers depend on, for the keys of caches and runs; `None` if it has none.
    ///
    /// # Errors
    /// The weights can't be read.
    fn identity(&self) -> Result<Option<String>, PolicyError> {
        Ok(None)
    }

    /// The policy as a concrete type, for learners that compute with a reference of their own kind
    /// ([`Learner::provide_divergence`]); `None` for others.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Samples an episode from each state to its end, each with a generator seeded from `rng`.
    fn rollout(&self, mdp: &M, starts: &[M::State], rng: &mut Rng) -> Result<Vec<EpisodeOf<M>>, PolicyError> {
        let mut rngs: Vec<Rng> = starts.iter().map(|_| fork(rng)).collect();
        let longest = vec![usize::MAX; starts.len()];
        act(mdp, self.cursor(mdp, starts)?, &longest, &mut rngs, &mut |_| Ok(()))
    }
}

/// The cursor of a policy without a cache: it calls [`Policy::propose`], [`Policy::sample`] and [`Policy::score`] on
/// its states.
pub struct Replay<'a, M: Mdp, P: ?Sized> {
    policy: &'a P,
    mdp: &'a M,
    states: Vec<M::State>,
}

impl<'a, M: Mdp, P: ?Sized> Replay<'a, M, P> {
    /// Opens a cursor at states.
    pub fn new(policy: &'a P, mdp: &'a M, states: &[M::State]) -> Self {
        Self { policy, mdp, states: states.to_vec() }
    }
}

impl<M: Mdp, P: ?Sized> std::fmt::Debug for Replay<'_, M, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("states", &self.states.len()).finish_non_exhaustive()
    }
}

impl<M: Mdp, P: Policy<M> + ?Sized> Cursor<M> for Replay<'_, M, P> {
    fn states(&self) -> &[M::State] {
        &self.states
    }

    fn expand(&mut self, k: usize, rngs: &mut [&mut Rng]) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError> {
        one_each("generators", self.states.len(), rngs.len())?;
        let rows = self.states.iter().zip(rngs);
        let lists =
            rows.map(|(state, rng)| only(self.policy.propose(self.mdp, std::slice::from_ref(state), k, rng)?));
        lists.collect()
    }

    fn draw(&mut self, rngs: &mut [&mut Rng]) -> Result<Vec<M::Action>, PolicyError> {
        one_each("generators", self.states.len(), rngs.len())?;
        let rows = self.states.iter().zip(rngs);
        rows.map(|(state, rng)| only(self.policy.sample(self.mdp, std::slice::from_ref(state), rng)?)).collect()
    }

    fn log_probs(&mut self, actions: &[M::Action]) -> Result<Vec<f64>, PolicyError> {
        one_each("actions", self.states.len(), actions.len())?;
        let decision = |(state, action): (&M::State, &M::Action)| Episode::whole(state.clone(), vec![action.clone()]);
        let decisions: Vec<EpisodeOf<M>> = self.states.iter().zip(actions).map(decision).collect();
        Ok(self.policy.score(self.mdp, &decisions)?.log_probs.values().to_vec())
    }

    fn log_probs_of(&mut self, candidates: &[Vec<M::Action>]) -> Result<Vec<Vec<f64>>, PolicyError> {
        one_each("lists of actions", self.states.len(), candidates.len())?;
        let decision = |state: &M::State, action: &M::Action| Episode::whole(state.clone(), vec![action.clone()]);
        let of_row = |(state, list)| (list as &Vec<_>).iter().map(move |action| decision(state, action));
        let decisions: Vec<EpisodeOf<M>> = self.states.iter().zip(candidates).flat_map(of_row).collect();
        let scores = self.policy.score(self.mdp, &decisions)?.log_probs;
        one_each("scores of decisions", decisions.len(), scores.values().len())?;
        let mut left = scores.values();
        let list = |list: &Vec<M::Action>| {
            let (own, others) = left.split_at(list.len());
            left = others;
            own.to_vec()
        };
        Ok(candidates.iter().map(list).collect())
    }

    fn advance(&mut self, actions: &[M::Action]) -> Result<(), PolicyError> {
        one_each("actions", self.states.len(), actions.len())?;
        for (state, action) in self.states.iter_mut().zip(actions) {
            *state = self.mdp.step(state, action);
        }
        Ok(())
    }

    fn follow(&mut self, given: &[Vec<M::Action>]) -> Result<(), PolicyError> {
        one_each("lists of given actions", self.states.len(), given.len())?;
        for (state, given) in self.states.iter_mut().zip(given) {
            *state = given.iter().fold(state.clone(), |state, action| self.mdp.step(&state, action));
        }
        Ok(())
    }

    fn select(&mut self, rows: &[usize]) {
        self.states = rows.iter().map(|&row| self.states[row].clone()).collect();
    }

    fn extend(&mut self, states: &[M::State]) -> Result<(), PolicyError> {
        self.states.extend_from_slice(states);
        Ok(())
    }
}

/// The only element of a list.
fn only<T>(answers: Vec<T>) -> Result<T, PolicyError> {
    let (n, answer) = (answers.len(), answers.into_iter().next());
    answer.filter(|_| n == 1).ok_or_else(|| wrong_count("answers to one state", 1, n))
}

/// A shared policy is the policy.
impl<M: Mdp, P: Policy<M> + ?Sized> Policy<M> for Arc<P> {
    fn propose(
        &self,
        mdp: &M,
        states: &[M::State],
        k: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Vec<Proposal<M::Action>>>, PolicyError> {
        self.as_ref().propose(mdp, states, k, rng)
    }

    fn sample(&self, mdp: &M, states: &[M::State], rng: &mut Rng) -> Result<Vec<M::Action>, PolicyError> {
        self.as_ref().sample(mdp, states, rng)
    }

    fn score(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
        self.as_ref().score(mdp, episodes)
    }

    fn cursor<'a>(&'a self, mdp: &'a M, states: &[M::State]) -> Result<Box<dyn Cursor<M> + 'a>, PolicyError> {
        self.as_ref().cursor(mdp, states)
    }

    fn identity(&self) -> Result<Option<String>, PolicyError> {
        self.as_ref().identity()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.as_ref().as_any()
    }

    fn rollout(&self, mdp: &M, starts: &[M::State], rng: &mut Rng) -> Result<Vec<EpisodeOf<M>>, PolicyError> {
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
    fn forward(&self, mdp: &M, episodes: &[EpisodeOf<M>]) -> Result<(Channels, Self::Tape), PolicyError>;

    /// Backpropagates slopes and adds to the gradient.
    fn backward(&mut self, tape: Self::Tape, slopes: &Channels) -> Result<(), PolicyError>;

    /// Provides the divergence channel, KL(reference || policy) in every state, for objectives that need it; trainers
    /// call it before the first step. A reference that the learner already has stays.
    ///
    /// # Errors
    /// The policy has no such channel (the default), or can't compute it with this reference.
    fn provide_divergence(&mut self, _reference: Option<&dyn Policy<M>>) -> Result<(), PolicyError> {
        Err("the objective needs the divergence from the reference, and this policy has no such channel".into())
    }

    /// Provides the collision channel, for objectives that need it; trainers call it before the first step.
    ///
    /// # Errors
    /// The policy has no such channel (the default).
    fn provide_collision(&mut self) -> Result<(), PolicyError> {
        Err("the objective needs how likely the policy is to act twice alike, and this policy has no such channel"
            .into())
    }

    /// The inner products of what moves two decisions' numbers: of d(number)/d(output) of each, the outputs being those of the
    /// model for the decision. `pairs` are decisions by episode and place, both of the tape.
    ///
    /// # Errors
    /// The outputs of two decisions are not comparable in this policy (the default).
    fn output_products(&self, _tape: &Self::Tape, _pairs: &[[(usize, usize); 2]]) -> Result<Vec<f64>, PolicyError> {
        Err("the safeguard compares what moves two decisions, and this policy's outputs can't be compared".into())
    }

    /// Keeps an exponential moving average of the weights, average = decay average + (1 - decay) weight after each update, as a
    /// reference that follows; trainers call it before the first step.
    ///
    /// # Errors
    /// The policy keeps none (the default); `decay` is not from 0 to below 1.
    fn follow(&mut self, _decay: f64) -> Result<(), PolicyError> {
        Err("the reference is to follow the policy, and this policy keeps no average of its weights".into())
    }

    /// Scores every decision by the average that [`follow`](Self::follow) keeps.
    ///
    /// # Errors
    /// None is kept.
    fn score_following(&self, _mdp: &M, _episodes: &[EpisodeOf<M>]) -> Result<Channels, PolicyError> {
        Err("the policy keeps no average of its weights".into())
    }

    /// Passes the accumulated gradient to `visit`, parameter by parameter; values written there replace it.
    /// Data-parallel learners sum their gradients this way.
    ///
    /// Every trainable parameter is visited, always in the same order; one without a gradient has zeros.
    fn visit_gradients(&mut self, visit: &mut VisitGradient<'_>) -> Result<(), PolicyError>;

    /// Whether all of the gradient is in `f32`, so that [`visit_single_gradients`](Self::visit_single_gradients) loses nothing.
    fn has_single_gradients(&self) -> bool {
        false
    }

    /// As [`visit_gradients`](Self::visit_gradients), by a gradient in `f32`, which is visited where it lies if it can be.
    ///
    /// # Errors
    /// The visitor's own; the gradient is not in `f32` (the default).
    fn visit_single_gradients(&mut self, _visit: &mut VisitSingle<'_>) -> Result<(), PolicyError> {
        Err("the gradient is not in f32".into())
    }

    /// Connects the policy with its copies in other processes, if it has a way of its own to sum gradients with theirs; trainers of
    /// several processes call it in all of them before the first step.
    ///
    /// # Errors
    /// They can't be connected.
    fn join(&mut self, _peers: &dyn Peers) -> Result<(), PolicyError> {
        Ok(())
    }

    /// Whether [`sum_gradient`](Self::sum_gradient) sums, which is the same in all processes; by default it does not, and trainers sum
    /// what they visit.
    fn sums_gradient(&self) -> bool {
        false
    }

    /// Replaces the accumulated gradient by its sum over all processes, which has the same bits in all. A parameter without a gradient
    /// has zeros.
    ///
    /// # Errors
    /// The policy has no way of its own to sum (the default), or it fails.
    fn sum_gradient(&mut self) -> Result<(), PolicyError> {
        Err("the policy does not sum gradients over processes".into())
    }

    /// The norm of the gradient accumulated since the last update.
    fn gradient_norm(&self) -> Result<f64, PolicyError>;

    /// The gradient norms of the parts of a composite policy, by name; empty for others.
    fn gradient_norms(&self) -> Result<Vec<(&'static str, f64)>, PolicyError> {
        Ok(Vec::new())
    }

    /// Multiplies the accumulated gradient.
    fn scale_gradient(&mut self, factor: f64) -> Result<(), PolicyError> {
        self.visit_gradients(&mut |_, slopes| {
            for slope in slopes.iter_mut() {
                *slope *= factor;
            }
            Ok(())
        })
    }

    /// Discards the gradient accumulated since the last update: the next update is as if it had not been. By default zeros are written.
    fn discard_gradient(&mut self) -> Result<(), PolicyError> {
        self.visit_gradients(&mut |_, slopes| {
            slopes.fill(0.0);
            Ok(())
        })
    }

    /// Clips the gradient to `max_gradient_norm`, takes one optimiser step of size `rate` and clears the gradient.
    /// Returns the norm before clipping. If the norm is not finite, no weight changes.
    fn update(&mut self, rate: f64, max_gradient_norm: Option<f64>) -> Result<f64, PolicyError>;

    /// As [`update`](Self::update), where several processes have the same gradient and each keeps the optimiser's state of its own
    /// share of every parameter: it updates that share and gets the others. All have the weights of a whole update then, to the bit.
    ///
    /// # Errors
    /// The policy's optimiser keeps all of its state (the default).
    fn update_share(
        &mut self,
        _rate: f64,
        _max_gradient_norm: Option<f64>,
        _shares: &dyn Shares,
    ) -> Result<f64, PolicyError> {
        Err("the optimiser's state is to be shared among processes, and this policy's can't be".into())
    }
}

/// A learner whose training can be stopped and resumed.
pub trait Persist {
    /// Writes the state for an exact resume (weights, optimiser state) into an existing folder.
    fn save_checkpoint(&self, folder: &Path) -> Result<(), PolicyError>;

    /// As [`save_checkpoint`](Self::save_checkpoint), after [`Learner::update_share`]: all processes call it, and those with a folder
    /// write the whole state, as one process would that has all of it.
    ///
    /// # Errors
    /// The policy's optimiser keeps all of its state (the default).
    fn save_checkpoint_of_shares(&self, _folder: Option<&Path>, _shares: &dyn Shares) -> Result<(), PolicyError> {
        Err("the optimiser's state is to be shared among processes, and this policy's can't be".into())
    }

    /// Restores that state.
    fn restore_checkpoint(&mut self, folder: &Path) -> Result<(), PolicyError>;

    /// Writes the policy in its ecosystem's format (a Hugging Face folder, a PEFT adapter) into an existing folder.
    fn export(&self, folder: &Path) -> Result<(), PolicyError>;

    /// A fingerprint of the weights, for cache keys.
    fn fingerprint(&self) -> Result<String, PolicyError>;
}
