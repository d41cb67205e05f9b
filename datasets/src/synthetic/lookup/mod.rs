//! The problem of an agent: questions that are answered by looking things up.
//!
//! A [`Question`] ("where lives who built the mill") needs two lookups: who built it, which is in one register, and where that
//! person lives, which is in another. The policy writes calls (`look plans mill ;`), the [`Clerk`] replies with what the register
//! has (`found carl .`), and the policy answers (`answer oslo`). Every [`Register`] has an entry for every key, another one every
//! day, so nothing can be known without looking, and who looks in the wrong register gets an answer as good as any: only the
//! outcome shows the mistake.
//!
//! # Training signal
//! Demonstrations ([`LookupProblem::demonstration`]) are by people with habits: they look up who bought a thing when they should
//! look up who built it, and where people live when they should look up what they do, more often than not
//! ([`LookupProblem::HABIT_RATE`]); the other way they are wrong now and then ([`LookupProblem::SLIP_RATE`]). [`Oracle`] reads
//! trajectories: the outcome, for a preference, and whether the lookups were the right ones, to measure what was learned.
//!
//! # Hold-out
//! The split of a question is a function of its text, which has the day ([`Split::of`]). Everything is a pure function of
//! `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::lookup::{Clerk, LookupProblem, Oracle, Split, prompt_tokens, response_text};
//! use mdp::token::{TokenMdp, TokenState};
//! use mdp::{InWorld, Mdp};
//!
//! let shown = LookupProblem::new(0).demonstration(Split::Train, 4);
//! let words = TokenMdp { vocabulary: 400, eos: vec![0], max_length: 48 };
//! let mdp = InWorld { mdp: words, world: Clerk };
//! // Three turns: two calls and the answer.
//! let episode = mdp.episode(TokenState::new(prompt_tokens(&shown.question)), shown.decisions);
//! assert_eq!(episode.pieces.len(), 3);
//! let end = episode.end(&mdp).expect("it has turns");
//! let reading = Oracle::read(&shown.question, &end.response);
//! assert_eq!(reading.lookups.len(), 2);
//! assert!(response_text(&end.response).starts_with(" look "));
//! ```

mod clerk;
mod oracle;
mod problem;
mod question;
#[cfg(test)]
mod tests;
mod tokens;

pub use clerk::Clerk;
pub use oracle::{Oracle, Reading};
pub use problem::{Demonstration, LookupProblem};
pub use question::{Attribute, Lookup, Question, Register, Relation};
pub use tokens::{END_OF_TEXT, prompt_tokens, response_text, tokenizer, tokenizer_json};

pub use super::Split;
