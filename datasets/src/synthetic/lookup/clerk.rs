//! The world: a clerk who looks up what is asked for.

use mdp::World;
use mdp::token::{TokenMdp, TokenState};

use super::question::{Lookup, Register};
use super::tokens::{CALL_END, FOUND, LOOK, NOTHING, REPLY_END, token, word};

/// The clerk of the registers: replies to each call with the entry of the day, and to what is no call with `nothing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clerk;

impl World<TokenMdp> for Clerk {
    fn reply(&self, state: &TokenState) -> Vec<u32> {
        let said = &state.response;
        if said.last().and_then(|last| word(*last)) != Some(CALL_END) {
            return Vec::new();
        }
        let entry =
            call(&said[..said.len() - 1]).and_then(|lookup| lookup.register.entry(day(&state.prompt)?, lookup.key));
        let words = entry.map_or_else(|| vec![NOTHING, REPLY_END], |entry| vec![FOUND, entry, REPLY_END]);
        words.into_iter().map(token).collect()
    }
}

/// The call that some tokens end with, the sign of its end left out.
pub(super) fn call(tokens: &[u32]) -> Option<Lookup> {
    let [.., look, register, key] = tokens else { return None };
    let register = word(*register)?;
    let register = Register::ALL.into_iter().find(|known| known.word() == register)?;
    (word(*look)? == LOOK).then_some(Lookup { register, key: word(*key)? })
}

/// The day of a prompt: four digits behind the heading.
fn day(prompt: &[u32]) -> Option<usize> {
    let digits = prompt.get(1..5)?.iter().map(|token| word(*token)?.parse::<usize>().ok());
    digits.into_iter().try_fold(0, |day, digit| Some(10 * day + digit?))
}
