//! Policies: models that give the log-probability of a decision.
//!
//! A [`Policy`] gives numbers: for the decisions of given episodes, for candidate actions, for episodes it samples. A
//! [`Learner`] also learns from slopes on those numbers. The rest of the project needs nothing else of a model, so a
//! loss never sees a tensor and a model never sees a loss: a language model with billions of weights and a table of six
//! logits train through the same loop.
//!
//! # Examples
//! One slope and one step make the favoured action more likely.
//! ```
//! use mdp::{Episode, Finite, Mdp};
//! use policies::{Learner, Policy, Tabular};
//!
//! let mdp = Finite::bandit(2);
//! let episodes = [Episode::whole(mdp.start(&0), vec![1])];
//! let mut policy = Tabular::new(&mdp);
//! let (numbers, tape) = policy.forward(&mdp, &episodes)?;
//! assert_eq!(numbers.log_probs.values(), [0.5f64.ln()]);
//!
//! // The loss is minus the log-probability.
//! policy.backward(tape, &numbers.log_probs.filled(-1.0).into())?;
//! policy.update(0.1, None)?;
//! assert!(policy.score(&mdp, &episodes)?.log_probs.values()[0] > 0.5f64.ln());
//! # Ok::<(), policies::BoxError>(())
//! ```
//!
//! # Where to go next
//! [`Policy`], [`Learner`] and [`Persist`] are the traits, a [`Cursor`] acts step by step, [`Agent`] acts in a world that
//! replies, [`Pair`] combines two policies to one of a hybrid problem, [`tabular`] has a policy small enough to follow by hand. [`laws`] is the first test to write
//! for your own policy.
// A choice that is added must be decided everywhere.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
mod agent;
mod cursor;
mod error;
pub mod gaussian;
pub mod laws;
mod pair;
mod policy;
mod proposal;
mod shares;
pub mod tabular;
pub use agent::Agent;
pub use cursor::{Cursor, Taking, act, act_until, one_each};
pub use error::{BoxError, PolicyError};
pub use gaussian::GaussianTable;
pub use pair::{Pair, PairTape, TrainedHalf, act_in_turn};
pub use policy::{Learner, Persist, Policy, Replay, VisitGradient, VisitSingle};
pub use proposal::Proposal;
pub use shares::{Peers, Shares};
pub use tabular::Tabular;
