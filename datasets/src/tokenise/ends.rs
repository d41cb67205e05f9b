//! End-of-sequence tokens of answers.

use super::Observation;
use super::{Tokenise, Tokenization};

impl Tokenise {
    /// Ends an answer. A plain answer gets EOS unless it has one. A chat answer ends with the template's end-of-turn
    /// token; EOS is appended only if the template has none. With joint tokenisation, a chat is exactly the template's
    /// output, as in TRL.
    pub(super) fn end(&self, tokens: &mut Vec<u32>, is_chat: bool, seen: &mut Observation) {
        let ends = &self.settings.ends;
        let is_joint_chat = is_chat && self.settings.tokenization == Tokenization::Joint;
        seen.blank_answers += usize::from(tokens.iter().all(|token| ends.contains(token)));
        if is_chat && !is_joint_chat {
            self.up_to_the_turns_end(tokens);
        }
        let is_ended = tokens.last().is_some_and(|last| ends.contains(last) || is_chat && self.special.contains(last));
        if !is_ended && !is_joint_chat {
            seen.ends_added += usize::from(is_chat);
            tokens.push(self.settings.eos());
        }
        let inside = tokens.len().saturating_sub(1);
        seen.eos_inside += usize::from(tokens[..inside].iter().any(|token| ends.contains(token)));
    }

    /// Removes white space that templates write after the end-of-turn token.
    fn up_to_the_turns_end(&self, tokens: &mut Vec<u32>) {
        let is_blank = |id: u32| self.tokenizer.decode(&[id], false).is_ok_and(|text| text.trim().is_empty());
        let n_blank = tokens.iter().rev().take_while(|id| !self.special.contains(id) && is_blank(**id)).count();
        let n = tokens.len() - n_blank;
        if n > 0 && (self.special.contains(&tokens[n - 1]) || self.settings.ends.contains(&tokens[n - 1])) {
            tokens.truncate(n);
        }
    }
}
