//! The embedded problem `builtin:tldr`: summarise a short post with correct facts.
//!
//! A grammar generates a small story: a person the writer knows ([`Slot::Relation`], [`Slot::Name`], [`Slot::Age`],
//! [`Slot::Place`]) did something with a [`Slot::Thing`] and an amount of money ([`Slot::Amount`]), and the writer asks
//! one [`Slot::Question`]. A second person with seven facts of the same kinds appears in the same post as a
//! distraction. A good summary has all seven facts of the story; a bad one alters some, omits some, or rambles
//! ([`Damage`]). [`Oracle`] scores any text against the facts, and [`Facts::from_prompt`] parses the facts of a post,
//! so the two texts are enough to judge a model.
//!
//! Everything is a pure function of `(seed, split, index)`. A post's split is a hash of its text alone, so splits never
//! share a post, whatever their seeds.
//!
//! # Examples
//! ```
//! use datasets::synthetic::tldr::{Facts, Oracle, TldrProblem, Split};
//!
//! let pair = TldrProblem::new(0).pair(Split::Train, 0);
//! let facts = Facts::from_prompt(&pair.prompt).expect("a post of this grammar");
//! let good = Oracle::score(&facts, &pair.chosen);
//! assert_eq!((good.right, good.wrong), (7, 0));
//! assert!(good.score > Oracle::score(&facts, &pair.rejected).score);
//! ```

mod facts;
mod oracle;
mod post;
mod problem;
mod summary;
mod template;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

pub use facts::{Event, Facts, Slot, Values};
pub use oracle::{FactCheck, Oracle, SummaryScore};
pub use problem::{TldrDemonstration, TldrPair, TldrProblem};
pub use summary::{AlteredFact, Damage};
pub use tokens::{END_OF_TEXT, token_indices, tokenizer, tokenizer_json};

pub use super::{ComparisonOutcome, Split};
