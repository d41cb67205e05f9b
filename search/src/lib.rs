//! Search over the decisions of a policy, whatever the problem.
//!
//! A policy gives every decision a log-probability; a search looks for episodes with a high [`Score`]: likelihood,
//! implicit reward, a reward with a value function, the log-ratio of one pair of models applied to a third, or a custom
//! function. It uses only `policies::Cursor`, so the same code searches tokens, denoising steps, hybrids of both, and
//! custom problems.
//!
//! All methods are one loop over [`Rows`]: get candidates, choose among them, take the choices. They differ only in the
//! choice:
//!
//! | method | takes |
//! |---|---|
//! | [`Greedy`] | the best candidate of each row |
//! | [`Sampling`], [`BestOfN`] | a draw in each row |
//! | [`Beam`], [`DiverseBeam`] | the best candidates of all rows of a start, or of a group of them |
//! | [`Smc`] | a draw in each row, and resamples rows by their weights |
//! | [`Mcts`] | the leaf with the largest upper bound in the tree |
//! | [`Rerank`] | another method's rows, ranked by another score |
//! | [`Refinements`] | a method's rows to the hand-off of a hybrid problem, and another's below each |
//!
//! A problem in a world that replies (`mdp::InWorld`, with `policies::Agent`) is searched like any other: the replies of tools and
//! users are part of the states, so that they are neither candidates nor in any score.
//!
//! Likelihood search on an optimal policy is reward search (Rafailov et al. 2024, "From r to Q*", Eq. 12 and 13), so a
//! beam over a policy trained on preferences searches its implicit reward, and a wide beam over-optimises it. The cost
//! is therefore counted in policy evaluations and reported with the result ([`Spent`]); a budget bounds it.
//!
//! # Examples
//! Likelihood search at two widths: greedy takes the likelier first action and misses the likeliest episode.
//! ```
//! use mdp::{Finite, FiniteState, Mdp, Rng};
//! use policies::Tabular;
//! use rand::SeedableRng;
//! use search::{Beam, Greedy, LogProbs, Search};
//!
//! // From place 0 to 1 or 2, and from each of them to a terminal place, by one action or the other.
//! let mdp = Finite::new(vec![vec![Some(1), Some(2)], vec![Some(3), Some(3)], vec![Some(3), Some(3)], vec![None; 2]], 2)?;
//! let mut policy = Tabular::new(&mdp);
//! policy.set_logits(FiniteState { time: 0, place: 0 }, vec![0.6f64.ln(), 0.4f64.ln()]);
//! policy.set_logits(FiniteState { time: 1, place: 2 }, vec![0.1f64.ln(), 0.9f64.ln()]);
//!
//! let likelihood = LogProbs::likelihood();
//! let search = Search::new(&mdp, &policy, &likelihood);
//! let (starts, longest, mut rngs) = ([mdp.start(&0)], [2], [Rng::seed_from_u64(0)]);
//! let greedy = search.run(&Greedy::default(), &starts, &longest, &mut rngs)?.remove(0);
//! let beam = search.run(&Beam::new(2), &starts, &longest, &mut rngs)?.remove(0);
//! assert!((greedy.found[0].log_prob().exp() - 0.6 * 0.5).abs() < 1e-12);
//! assert!((beam.found[0].log_prob().exp() - 0.4 * 0.9).abs() < 1e-12);
//! // The start and one later state, or two.
//! assert_eq!((greedy.spent.evaluations, beam.spent.evaluations), (2, 3));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # Where to go next
//! [`Search`] runs a method, [`Outcome`] is its result. [`LogProbs`] has the scores that are sums of log-probabilities,
//! [`Guided`] Eq. 12, [`Reward`] any function. A custom method implements [`Method`] over [`Rows`]; [`Greedy`] is the
//! shortest example.
// A choice that is added must be decided everywhere.
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
mod beam;
mod error;
mod found;
mod mcts;
mod refinements;
mod rerank;
mod rows;
mod sampling;
mod score;
mod smc;
mod task;

pub use beam::{Beam, DiverseBeam, EarlyStopping};
pub use error::{Result, SearchError};
pub use found::{Found, FoundOf, Outcome, OutcomeOf, Spent};
pub use mcts::{LeafEvaluation, Mcts};
pub use refinements::Refinements;
pub use rerank::Rerank;
pub use rows::{Candidate, Choice, Row, Rows};
pub use sampling::{BestOfN, Greedy, Sampling};
pub use score::{Guided, LogProbs, Reward, Score, Scorer};
pub use smc::Smc;
pub use task::{IsEnd, Method, Progress, Search, Task, Watch};

#[cfg(test)]
mod tests;
