//! The problem of conversation trees: a clerk repeats what a customer has brought so far.
//!
//! In every turn the user brings one thing more (`user brings lamp`), and the reply lists all of them in their order, in one of
//! two manners (`gladly keeps lamp`). A [`Reply`] is as good as its [`grade`](Reply::grade): the right list counts more than the
//! manner. What is right follows from the user's turns alone, so a conversation goes on sensibly after a bad reply, too.
//!
//! A [`Tree`] has [`SIBLINGS`] replies of different grades to every user's turn, and goes on after [`BRANCHES`] of them, three
//! turns deep: 7 lists of ranked replies, 28 replies.
//!
//! # Training signal
//! Demonstrations ([`DialogueProblem::demonstration`]) are conversations whose replies are wrong with
//! [`DialogueProblem::ERROR_RATE`] and rude with [`DialogueProblem::RUDE_RATE`].
//!
//! # Hold-out
//! The split of a conversation is a function of the things that are brought ([`Split::of`]). Everything is a pure function of
//! `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::dialogue::{DialogueProblem, Split};
//!
//! let tree = DialogueProblem::new(0).tree(Split::Train, 4);
//! assert_eq!((tree.lists.len(), tree.lists[0].replies.len()), (7, 4));
//! // Best first.
//! let grades: Vec<usize> = tree.lists[0].replies.iter().map(|reply| reply.grade(&tree.lists[0].things)).collect();
//! assert_eq!(grades, [3, 2, 1, 0]);
//! ```

mod problem;
mod reply;
#[cfg(test)]
mod tests;
mod tokens;

pub use problem::{BRANCHES, DialogueProblem, SIBLINGS, SiblingList, TURNS, Tree};
pub use reply::{Reply, THINGS, Turn};
pub use tokens::{END_OF_TEXT, question_tokens, read, reply_tokens, tokenizer_json};

pub use super::Split;
