//! Markov decision processes as values.
//!
//! A problem is immutable data with pure functions ([`Mdp`]): where an episode starts, what an action does, when it
//! ends. There is no reward and no randomness in it: rewards belong to whoever prefers one episode to another, and all
//! chance lives in the policy. States are values that can be cloned, compared and branched from, so episodes replay
//! exactly and a search may continue from any state. That is the paper's insight as a shape: a language model, a
//! denoiser and the two in a row are all policies of deterministic problems, and preferences see only what they say of
//! each decision.
//!
//! # Examples
//! A problem of one's own is three functions. [`laws`] checks it, and where states and actions can be counted,
//! [`explore`] writes it out and [`soft_q`] solves it exactly.
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
//! // Each hour is worth ln((1 + e) / 2), whichever it is: the reward at the end has found its way back to every step.
//! let hour = ((1.0 + 1f64.exp()) / 2.0).ln();
//! assert!((solved.value(finite.start(&0)) - 4.0 * hour).abs() < 1e-12);
//! # Ok::<(), mdp::MdpError>(())
//! ```
//!
//! # Where to go next
//! [`token::TokenMdp`] is the language model's problem, [`diffusion::DenoisingMdp`] the denoiser's, [`hybrid::Hybrid`]
//! two problems in a row. [`Steps`] carries one
//! number for each decision, which is all that the crates for policies and for losses exchange. [`Finite`] and
//! [`soft_q`] are the ground truth of the tests.

pub mod chance;
pub mod diffusion;
mod enumerable;
mod episode;
mod error;
pub mod finite;
pub mod hybrid;
pub mod laws;
pub mod soft_q;
mod steps;
pub mod token;

pub use enumerable::{Enumerable, Explored, all_episodes, explore};
pub use episode::{Episode, EpisodeOf, Piece, weights};
pub use error::MdpError;
pub use finite::{Finite, FiniteState, Table};
pub use steps::{Channels, Steps};

/// The one generator type; it is always passed in, and seeded at the edge.
pub type Rng = rand_chacha::ChaCha8Rng;

/// A deterministic Markov decision process.
///
/// # Laws
/// `step` is only called for a state that is not terminal and an action the state allows; it is a pure function. An
/// episode that follows allowed actions ends after finitely many steps. [`laws`] checks both for a user's own problem.
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
