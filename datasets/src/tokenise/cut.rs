//! Truncation of prompts and answers.

use super::Observation;
use super::{TokenSettings, Tokenise};
use crate::response::Response;
use crate::truncation::Truncation;

/// The parts of a prompt that truncation keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Number of initial tokens (BOS).
    pub(super) n_start: usize,
    /// Number of tokens in the generation prompt.
    pub(super) header: usize,
}

impl Tokenise {
    /// Truncates the prompt, then the answers to the remaining room. Of an answer with several turns whole turns are kept.
    pub(super) fn cut(
        &self,
        prompt: &mut Vec<u32>,
        responses: &mut [Response],
        truncation: Truncation,
        kept: Kept,
        seen: &mut Observation,
    ) {
        let TokenSettings { ends, max_length, max_prompt_length, .. } = &self.settings;
        let longest = responses.iter().map(|response| response.len()).max().unwrap_or(0);
        if prompt.len() + longest <= *max_length {
            return;
        }
        if let Some(most) = max_prompt_length.filter(|most| prompt.len() > *most) {
            seen.is_prompt_cut = true;
            seen.cut_tokens.prompt += prompt.len() - most;
            shorten(prompt, most, truncation, kept);
        }
        let room = max_length.saturating_sub(prompt.len());
        seen.is_left_out = room == 0;
        for response in responses.iter_mut().filter(|response| response.len() > room) {
            let was_ended = response.last().is_some_and(|last| ends.contains(last) || self.special.contains(last));
            let (n, n_scored) = (response.len(), response.n_scored());
            response.truncate_to_turns(room);
            seen.cut_responses += 1;
            let n_cut = n_scored - response.n_scored();
            seen.cut_tokens.scored += n_cut;
            seen.cut_tokens.given += n - response.len() - n_cut;
            let is_ended = response.last().is_some_and(|last| ends.contains(last));
            seen.eos_lost += usize::from(was_ended && !is_ended);
        }
    }
}

/// Truncates a prompt to `most` tokens.
fn shorten(prompt: &mut Vec<u32>, most: usize, truncation: Truncation, kept: Kept) {
    let n_start = kept.n_start.min(most);
    let n_end = match truncation {
        Truncation::KeepStart => kept.header,
        Truncation::KeepEnd => most - n_start,
        Truncation::KeepBoth => kept.header.max(most / 4),
    };
    let n_end = n_end.min(most - n_start);
    let n_dropped = prompt.len() - most;
    let from = most - n_end;
    prompt.drain(from..from + n_dropped);
}
