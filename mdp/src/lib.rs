//! Markov decision processes as values.
//!
//! A problem is immutable data with pure functions ([`Mdp`]): the start state, the transition, the terminal states. It
//! has no reward and no randomness: rewards belong to the judge who prefers one episode to another, and all randomness
//! is in the policy. States are values that can be cloned, compared and branched from, so episodes replay exactly and a
//! search may continue from any state. A language model, a denoiser and the two in sequence are all policies of such
//! deterministic problems, and a preference loss sees only the log-probabilities of their decisions.
//!
//! # Examples
//! A problem of your own is three functions. [`laws`] checks it; where states and actions can be enumerated,
//! [`explore`] tabulates it and [`soft_q`] solves it exactly.
//! ```
//! use mdp::{Enumerable, Mdp, Rng, Table, laws, soft_q};
//! use rand::SeedableRng;
//!
//! /// Climb (1) or rest (0); the day has `hours`.
//! struct Hike {
//!     hours: usize,
//! }
//!
//! impl Mdp for Hike {
//!     type Context = ();
//!     type State = (usize, usize); // hours gone, height
//!     type Action = usize;
//!     fn start(&self, (): &()) -> (usize, usize) {
//!         (0, 0)
//!     }
//!     fn step(&self, (hour, height): &(usize, usize), climb: &usize) -> (usize, usize) {
//!         (hour + 1, height + climb)
//!     }
//!     fn is_terminal(&self, (hour, _): &(usize, usize)) -> bool {
//!         *hour == self.hours
//!     }
//! }
//!
//! impl Enumerable for Hike {
//!     fn n_actions(&self) -> usize {
//!         2
//!     }
//!     fn action(&self, index: usize) -> usize {
//!         index
//!     }
//!     fn action_index(&self, action: &usize) -> usize {
//!         *action
//!     }
//! }
//!
//! let mdp = Hike { hours: 4 };
//! laws::check_enumerable(&mdp, &[()], laws::Walks::default(), &mut Rng::seed_from_u64(0))?;
//!
//! // The view pays off at the top; the reference climbs half of the time.
//! let explored = mdp::explore(&mdp, &[mdp.start(&())], 100)?;
//! let view = |place: usize| explored.states[place].1 as f64;
//! let finite = &explored.finite;
//! let rewards = Table::from_fn(finite, |s, a| if s.time == 3 { view(finite.step(&s, &a).place) } else { 0.0 });
//! let solved = soft_q::solve(finite, &rewards, &Table::uniform(finite), 1.0)?;
//! // Each hour is worth ln((1 + e) / 2): the final reward is propagated back to every step.
//! let hour = ((1.0 + 1f64.exp()) / 2.0).ln();
//! assert!((solved.value(finite.start(&0)) - 4.0 * hour).abs() < 1e-12);
//! # Ok::<(), mdp::MdpError>(())
//! ```
//!
//! # Where to go next
//! [`token::TokenMdp`] is the language model's problem, [`diffusion::DenoisingMdp`] the denoiser's, [`hybrid::Hybrid`]
//! two problems in a row, [`world`] a problem whose environment replies. [`Steps`] carries one
//! number for each decision, which is all that the crates for policies and for losses exchange. [`Finite`] and
//! [`soft_q`] are the ground truth of the tests.
// A choice that is added must be decided everywhere.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod chance;
pub mod control;
pub mod diffusion;
mod enumerable;
mod episode;
mod error;
mod explored;
pub mod finite;
pub mod hybrid;
pub mod laws;
pub mod soft_q;
mod steps;
pub mod token;
pub mod world;

pub use enumerable::{Enumerable, all_episodes};
pub use episode::{Episode, EpisodeOf, Piece, weights};
pub use error::MdpError;
pub use explored::{Explored, explore};
pub use finite::{Finite, FiniteState, Table};
pub use steps::{Channels, Steps};
pub use world::{InWorld, World};

/// The one generator type; it is always passed in, and seeded by the caller.
pub type Rng = rand_chacha::ChaCha8Rng;

/// A deterministic Markov decision process.
///
/// # Laws
/// `step` is only called for a state that is not terminal and an action the state allows; it is a pure function. An
/// episode that follows allowed actions ends after finitely many steps. [`laws`] checks both for a user's own problem.
pub trait Mdp {
    /// The context of an episode: a prompt, a caption, a request.
    type Context;
    /// The state of an episode.
    type State: Clone;
    /// One decision.
    type Action: Clone;

    /// The start state for `context`.
    fn start(&self, context: &Self::Context) -> Self::State;

    /// The next state after `action`.
    fn step(&self, state: &Self::State, action: &Self::Action) -> Self::State;

    /// Whether the state is terminal.
    fn is_terminal(&self, state: &Self::State) -> bool;

    /// Whether `action` may be taken in `state`.
    fn allows(&self, _state: &Self::State, _action: &Self::Action) -> bool {
        true
    }

    /// The episode of decisions from a start: one piece, or one for each turn in a [`World`] that replies.
    fn episode(&self, start: Self::State, actions: Vec<Self::Action>) -> Episode<Self::State, Self::Action> {
        Episode::whole(start, actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_types_can_cross_threads() {
        fn check<T: Send + Sync>() {}
        check::<Episode<token::TokenState, u32>>();
        check::<Channels>();
        check::<token::TokenMdp>();
        check::<Explored<token::TokenState>>();
        check::<soft_q::SoftQ>();
        check::<MdpError>();
    }
}
