//! How an answer ends.

use super::{Tokenise, Tokenization};
use crate::audit::Observation;

impl Tokenise {
    /// Ends an answer. A plain one gets EOS unless it ends already. A chat's ends where its template ends the turn; only
    /// where the template leaves that to nobody is EOS put there. Read jointly, a chat is what the template wrote, all of
    /// it and nothing else, as in TRL.
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

    /// Leaves out the white space that templates write behind the token that ends a turn.
    fn up_to_the_turns_end(&self, tokens: &mut Vec<u32>) {
        let is_blank = |id: u32| self.tokenizer.decode(&[id], false).is_ok_and(|text| text.trim().is_empty());
        let n_blank = tokens.iter().rev().take_while(|id| !self.special.contains(id) && is_blank(**id)).count();
        let n = tokens.len() - n_blank;
        if n > 0 && (self.special.contains(&tokens[n - 1]) || self.settings.ends.contains(&tokens[n - 1])) {
            tokens.truncate(n);
        }
    }
}
