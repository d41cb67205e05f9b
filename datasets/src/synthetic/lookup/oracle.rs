//! Reads trajectories of any policy.

use super::clerk::call;
use super::question::{Lookup, Question};
use super::tokens::{ANSWER, CALL_END, FOUND, word};

/// What an agent did, and what of it is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Each call that is one, with the place of its register among the tokens.
    pub lookups: Vec<(usize, Lookup)>,
    /// The word behind `answer` at the end; `None` if there is none.
    pub answer: Option<&'static str>,
    /// The outcome: whether that is the question's answer.
    pub is_right: bool,
    /// Whether the lookups are those that answer the question, in order, and no others.
    pub looks_right: bool,
    /// Whether the answer is what was found last.
    pub is_faithful: bool,
}

impl Reading {
    /// The place of the register of the first lookup that is not the question's.
    pub fn first_wrong(&self, question: &Question) -> Option<usize> {
        let right = question.lookups();
        let wrong = self.lookups.iter().enumerate().find(|(nth, (_, lookup))| right.get(*nth) != Some(lookup));
        wrong.map(|(_, (place, _))| *place)
    }
}

/// The judge of trajectories.
#[derive(Clone, Copy, Debug)]
pub struct Oracle;

impl Oracle {
    /// Reads all tokens of a response, replies and EOS included.
    pub fn read(question: &Question, response: &[u32]) -> Reading {
        let is = |token: &u32, sign: &str| word(*token) == Some(sign);
        let calls = response.iter().enumerate().filter(|(_, token)| is(token, CALL_END));
        let lookups: Vec<(usize, Lookup)> =
            calls.filter_map(|(end, _)| call(&response[..end]).map(|lookup| (end - 2, lookup))).collect();
        let answer = match response {
            [.., sign, answer, 0] if is(sign, ANSWER) => word(*answer),
            _ => None,
        };
        let found = response.iter().rposition(|token| is(token, FOUND)).and_then(|at| word(*response.get(at + 1)?));
        Reading {
            answer,
            is_right: answer == Some(question.answer()),
            looks_right: lookups.iter().map(|(_, lookup)| *lookup).eq(question.lookups()),
            is_faithful: answer.is_some() && answer == found,
            lookups,
        }
    }
}
