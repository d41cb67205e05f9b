//! Markov decision processes as values.
//!
//! A problem is immutable data with pure functions ([`Mdp`]): where an episode starts, what an action does, when it
//! ends. There is no reward and no randomness in it: rewards belong to whoever prefers one episode to another, and all
//! chance lives in the policy. States are values that can be cloned, compared and branched from, so episodes replay
//! exactly and a search may continue from any state.

mod episode;
mod steps;
pub mod token;

pub use episode::{Episode, EpisodeOf, Piece, weights};
pub use steps::{Channels, Steps};

/// The one generator type; it is always passed in, and seeded at the edge.
pub type Rng = rand_chacha::ChaCha8Rng;

/// A deterministic Markov decision process.
///
/// # Laws
/// `step` is only called for a state that is not terminal and an action the state allows; it is a pure function. An
/// episode that follows allowed actions ends after finitely many steps. `laws` checks both for a user's own problem.
pub trait Mdp {
    /// What an episode is about: a prompt, a caption, a request.
    type Context;
    /// Where an episode stands.
    type State: Clone;
    /// One decision.
    type Action: Clone;

    /// The state an episode about `context` begins in.
    fn start(&self, context: &Self::Context) -> Self::State;

    /// The state that `action` leads to.
    fn step(&self, state: &Self::State, action: &Self::Action) -> Self::State;

    /// Whether the episode is over.
    fn is_terminal(&self, state: &Self::State) -> bool;

    /// Whether `action` may be taken in `state`.
    fn allows(&self, _state: &Self::State, _action: &Self::Action) -> bool {
        true
    }
}
