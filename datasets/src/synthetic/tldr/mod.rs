//! The embedded problem `builtin:tldr`: summarise a short post without getting its facts wrong.
//!
//! A grammar tells a small story: somebody the writer knows ([`Slot::Relation`], [`Slot::Name`], [`Slot::Age`],
//! [`Slot::Place`]) did something with a [`Slot::Thing`] and a sum of money ([`Slot::Amount`]), and the writer asks
//! one [`Slot::Question`]. A second person with seven facts of the same kinds appears in the same post, so that a
//! summary has something to confuse. A good summary tells all seven facts of the story; a bad one alters some, leaves
//! some out, or rambles ([`Damage`]). [`Oracle`] judges any text against the facts, and [`Facts::from_prompt`] reads
//! the facts back from the post, so nothing but the two texts is needed.
//!
//! Everything is a pure function of `(seed, split, index)`. A post's split is decided by a hash of its text alone, so
//! two splits never share a post, whatever their seeds.
//!
//! # Examples
//! ```
//! use datasets::synthetic::tldr::{Facts, Oracle, Problem, Split};
//!
//! let pair = Problem::new(0).pair(Split::Train, 0);
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
pub use oracle::{Judgement, Oracle, Verdict};
pub use problem::{Demonstration, Problem, TldrPair};
pub use summary::{AlteredFact, Damage};
pub use tokens::{END_OF_TEXT, token_indices, tokenizer, tokenizer_json};

pub use super::{Outcome, Split};
