//! End-of-sequence tokens of answers.

use super::Observation;
use super::{Tokenise, Tokenization};
use crate::response::Response;

impl Tokenise {
    /// Ends an answer. A plain answer gets EOS unless it has one. A chat answer ends with the template's
    /// end-of-turn token, and with the white space behind it where the template marks that as generated or tokenisation is joint, as
    /// in TRL; EOS is appended only if the template has no such token, and with joint tokenisation not even then.
    pub(super) fn end(&self, response: &mut Response, is_chat: bool, seen: &mut Observation) {
        let ends = &self.settings.ends;
        let n_said = response.len() - if is_chat { self.n_blank_behind_end(response) } else { 0 };
        let said = &response[..n_said];
        seen.blank_answers += usize::from(said.iter().all(|token| ends.contains(token)));
        let is_ended = said.last().is_some_and(|last| ends.contains(last) || is_chat && self.special.contains(last));
        let is_as_written = is_chat && self.settings.tokenization == Tokenization::Joint;
        if !is_ended && !is_as_written {
            seen.ends_added += usize::from(is_chat);
            response.push(self.settings.eos());
        }
        let is_inside = |turn: &[u32]| {
            let inside = turn.len() - self.n_blank_behind_end(turn);
            turn[..inside.saturating_sub(1)].iter().any(|token| ends.contains(token))
        };
        seen.eos_inside += usize::from(response.turns().iter().any(|turn| is_inside(&response[turn.range.clone()])));
    }

    /// Whether an answer ends with an end-of-turn token, but for the white space that templates write behind it.
    pub(super) fn is_ended(&self, tokens: &[u32]) -> bool {
        let said = &tokens[..tokens.len() - self.n_blank_behind_end(tokens)];
        said.last().is_some_and(|last| self.settings.ends.contains(last) || self.special.contains(last))
    }

    /// Number of tokens of white space that templates write after the end-of-turn token; 0 if there is no such token.
    pub(super) fn n_blank_behind_end(&self, tokens: &[u32]) -> usize {
        let is_end = |id: &u32| self.special.contains(id) || self.settings.ends.contains(id);
        let is_blank = |id: u32| self.tokenizer.decode(&[id], false).is_ok_and(|text| text.trim().is_empty());
        let n_blank = tokens.iter().rev().take_while(|id| !is_end(id) && is_blank(**id)).count();
        let last = tokens.len().checked_sub(n_blank + 1).map(|at| tokens[at]);
        if last.is_some_and(|last| is_end(&last)) { n_blank } else { 0 }
    }
}
