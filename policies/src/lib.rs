//! Policies: whatever gives the log-probability of a decision.
//!
//! A [`Policy`] gives numbers: of the decisions of given episodes, of candidate actions, of episodes it makes itself. A
//! [`Learner`] also learns from slopes on those numbers. That is all that the rest of the project asks of a model, so a
//! loss never sees a tensor, and a model never sees a loss: a language model of billions of weights and a table of six
//! logits train through the same loop.
//!
//! # Examples
//! One slope, one step: the action that it favours becomes more likely.
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
//! [`Policy`], [`Learner`] and [`Persist`] are the traits, a [`Cursor`] is a policy in the act, [`Pair`] makes two policies one of a hybrid problem, [`tabular`]
//! has a policy small enough to follow by hand. [`laws`] is the first test to write for a policy of your own.
mod cursor;
mod error;
pub mod laws;
mod pair;
mod policy;
pub mod tabular;
pub use cursor::{Cursor, Replay, Taking, act, one_each};
pub use error::PolicyError;
pub use pair::{Pair, PairTape, TrainedHalf, act_in_turn};
pub use policy::{BoxError, Learner, Persist, Policy, Proposal, VisitGradient};
pub use tabular::Tabular;
