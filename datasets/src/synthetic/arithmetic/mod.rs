//! A reasoning problem with checkable answers: sums that are worked step by step.
//!
//! An [`Expression`] has five digits and four operations ("3 + 8 x 2 - 5 + 1"), worked from left to right, and only the last
//! digit of every result counts: 3 - 5 is 8. A [`Solution`] tells the result of each step and the answer. [`Oracle`] reads any
//! answer: whether it is right, and which of its steps is the first wrong one.
//!
//! # Training signal
//! Demonstrations ([`ArithmeticProblem::demonstration`]) are worked by people who make mistakes: any step may be a slip
//! ([`ArithmeticProblem::SLIP_RATE`], another digit), and who must borrow often takes the smaller digit from the larger
//! instead ([`ArithmeticProblem::HABIT_RATE`]: 3 - 5 is 2). The habit is the likelier way, so that more samples and a vote among
//! them do not help against it; whoever checks answers can learn to avoid it.
//!
//! # Hold-out
//! The split of an expression is a function of its text ([`Split::of`]), so the splits share no expression. Everything is a pure
//! function of `(seed, split, index)`.
//!
//! # Examples
//! ```
//! use datasets::synthetic::arithmetic::{Expression, Oracle, Solution};
//!
//! let expression = Expression::read("3 + 8 x 2 - 5 + 1").expect("an expression of this grammar");
//! assert_eq!(expression.answer(), 8);
//! let solution = Solution::of(&expression);
//! assert_eq!(solution.text(&expression), " 3 + 8 = 1 ; 1 x 2 = 2 ; 2 - 5 = 7 ; 7 + 1 = 8 ; answer 8");
//! assert!(Oracle::read(&expression, " 3 + 8 = 1 ; 1 x 2 = 2 ; 2 - 5 = 3 ; 3 + 1 = 4 ; answer 4").first_wrong == Some(2));
//! ```

mod expression;
mod oracle;
mod problem;
#[cfg(test)]
mod tests;
mod tokens;

pub use expression::{Expression, OPERATIONS, Operation, Solution};
pub use oracle::{Oracle, Reading};
pub use problem::{ArithmeticProblem, Demonstration};
pub use tokens::{
    END_OF_TEXT, STEP_TOKENS, WORDS, prompt_tokens, response_text, response_tokens, tokenizer, tokenizer_json,
};

pub use super::Split;
