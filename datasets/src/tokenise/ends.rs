//! End-of-sequence tokens of answers.

use super::Observation;
use super::{Tokenise, Tokenization};
use crate::response::Response;

impl Tokenise {
    /// Ends an answer. A plain answer gets EOS unless it has one. A chat answer ends with the template's end-of-turn
    /// token; EOS is appended only if the template has none. With joint tokenisation, a chat is exactly the template's
    /// output, as in TRL.
    pub(super) fn end(&self, response: &mut Response, is_chat: bool, seen: &mut Observation) {
        let ends = &self.settings.ends;
        let is_joint_chat = is_chat && self.settings.tokenization == Tokenization::Joint;
        seen.blank_answers += usize::from(response.iter().all(|token| ends.contains(token)));
        if is_chat && !is_joint_chat {
            response.truncate(response.len() - self.n_blank_behind_end(response));
        }
        let is_ended =
            response.last().is_some_and(|last| ends.contains(last) || is_chat && self.special.contains(last));
        if !is_ended && !is_joint_chat {
            seen.ends_added += usize::from(is_chat);
            response.push(self.settings.eos());
        }
        let insides = response.turns().iter().map(|turn| turn.range.start..turn.range.end.saturating_sub(1));
        let is_inside = |inside: std::ops::Range<usize>| response[inside].iter().any(|token| ends.contains(token));
        seen.eos_inside += usize::from(insides.into_iter().any(is_inside));
    }

    /// Number of tokens of white space that templates write after the end-of-turn token; 0 if there is no such token.
    pub(super) fn n_blank_behind_end(&self, tokens: &[u32]) -> usize {
        let is_blank = |id: u32| self.tokenizer.decode(&[id], false).is_ok_and(|text| text.trim().is_empty());
        let n_blank = tokens.iter().rev().take_while(|id| !self.special.contains(id) && is_blank(**id)).count();
        let last = tokens.len().checked_sub(n_blank + 1).map(|at| tokens[at]);
        let is_end = last.is_some_and(|last| self.special.contains(&last) || self.settings.ends.contains(&last));
        if is_end { n_blank } else { 0 }
    }
}
