//! Reads worked answers of any policy.

use super::expression::{Expression, digit};

/// What an answer says, and what of it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The digit behind `answer`; `None` if there is none.
    pub answer: Option<u8>,
    /// Whether that is the expression's answer.
    pub is_right: bool,
    /// The first step that is not worked right, from 0: it is missing, goes on from another number than the step before, has another
    /// operation or digit than the expression, or another result. `None` if all steps are right.
    pub first_wrong: Option<usize>,
}

/// The judge of answers.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

impl Oracle {
    /// Reads the response to an expression's prompt, without EOS.
    pub fn read(expression: &Expression, response: &str) -> Reading {
        let mut parts = response.split(';').map(|part| part.split_whitespace().collect::<Vec<&str>>());
        let mut value = expression.first;
        let mut first_wrong = None;
        for (step, (operation, second)) in expression.operations.iter().enumerate() {
            let right = operation.result(value, *second);
            let expected = format!("{value} {} {second} = {right}", operation.word());
            // Steps behind a wrong one are wrong too, whatever they say.
            if parts.next().is_none_or(|words| words.join(" ") != expected) {
                first_wrong = first_wrong.or(Some(step));
            }
            value = right;
        }
        let last = response.rsplit(';').next().unwrap_or_default();
        let answer = last.trim().strip_prefix("answer ").and_then(digit);
        Reading { answer, is_right: answer == Some(expression.answer()), first_wrong }
    }
}
