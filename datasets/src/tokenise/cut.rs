//! Truncation of prompts and answers.
use std::ops::Range;

use super::{Observation, TokenSettings, Tokenise, is_unscored};
use crate::record::Answers;
use crate::response::Response;
use crate::truncation::Truncation;

/// The parts of a prompt that truncation keeps.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Number of initial tokens: BOS; of a chat, all before the message that is cut.
    pub(super) n_start: usize,
    /// Number of final tokens: a chat's generation prompt, and all behind the message that is cut.
    pub(super) n_end: usize,
    /// The role of the message that is cut.
    pub(super) role: Option<String>,
}

/// The tokens that an answer lost.
pub(super) struct Cut {
    /// Which answer.
    pub(super) answer: usize,
    /// Its length before, in tokens.
    pub(super) length: usize,
    /// The tokens.
    pub(super) lost: Range<usize>,
}

impl Tokenise {
    /// Truncates the prompt, then the answers to the remaining room. Of an answer with several turns whole turns are kept.
    pub(super) fn cut(
        &self,
        prompt: &mut Vec<u32>,
        responses: &mut [Response],
        truncation: Truncation,
        kept: &Kept,
        seen: &mut Observation,
    ) -> Vec<Cut> {
        let TokenSettings { ends, max_length, max_prompt_length, .. } = &self.settings;
        let longest = responses.iter().map(|response| response.len()).max().unwrap_or(0);
        if prompt.len() + longest <= *max_length {
            return Vec::new();
        }
        if let Some(most) = max_prompt_length.filter(|most| prompt.len() > *most) {
            let n_cut = prompt.len() - most;
            seen.is_prompt_cut = true;
            seen.cut_tokens.prompt += n_cut;
            if let Some(role) = &kept.role {
                let cut = seen.cut_roles.entry(role.clone()).or_default();
                (cut.tokens, cut.parts) = (cut.tokens + n_cut, cut.parts + 1);
            }
            shorten(prompt, most, truncation, kept);
        }
        let room = max_length.saturating_sub(prompt.len());
        seen.is_left_out = room == 0;
        let mut cuts = Vec::new();
        for (answer, response) in responses.iter_mut().enumerate().filter(|(_, response)| response.len() > room) {
            let was_ended = self.is_ended(response);
            let (length, n_scored) = (response.len(), response.n_scored());
            response.truncate_to_turns(room);
            seen.cut_responses += 1;
            let n_cut = n_scored - response.n_scored();
            seen.cut_tokens.scored += n_cut;
            seen.cut_tokens.given += length - response.len() - n_cut;
            let is_ended = response.last().is_some_and(|last| ends.contains(last)) || self.is_ended(response);
            seen.eos_lost += usize::from(was_ended && !is_ended);
            cuts.push(Cut { answer, length, lost: response.len()..length });
        }
        cuts
    }
}

/// Truncates a prompt to `most` tokens.
fn shorten(prompt: &mut Vec<u32>, most: usize, truncation: Truncation, kept: &Kept) {
    let n_start = kept.n_start.min(most);
    let n_end = match truncation {
        Truncation::KeepStart => kept.n_end,
        Truncation::KeepEnd => most - n_start,
        Truncation::KeepBoth => kept.n_end.max(most / 4),
    };
    let n_end = n_end.min(most - n_start);
    let n_dropped = prompt.len() - most;
    let from = most - n_end;
    prompt.drain(from..from + n_dropped);
}

/// The answers that have a scored token, and the comparisons of a tree's. A list or a tree goes on without the others if
/// there is still something to compare; another record does not.
pub(super) fn without_unscored(
    answers: &Answers,
    responses: Vec<Response>,
    seen: &mut Observation,
) -> (Vec<Response>, Vec<(usize, usize)>) {
    let comparisons = match answers {
        Answers::Forest { comparisons, .. } => comparisons.clone(),
        Answers::Pair { .. } | Answers::Ranked(_) | Answers::Labelled { .. } | Answers::Demonstration(_) => Vec::new(),
    };
    let is_kept: Vec<bool> = responses.iter().map(|response| !is_unscored(response)).collect();
    if seen.is_left_out || is_kept.iter().all(|is_kept| *is_kept) {
        return (responses, comparisons);
    }
    let place = |at: usize| is_kept[at].then(|| is_kept[..at].iter().filter(|is_kept| **is_kept).count());
    let compared = |&(better, worse): &(usize, usize)| Some((place(better)?, place(worse)?));
    let comparisons: Vec<(usize, usize)> = comparisons.iter().filter_map(compared).collect();
    let n_kept = is_kept.iter().filter(|is_kept| **is_kept).count();
    seen.is_unscored = match answers {
        Answers::Forest { .. } => comparisons.is_empty(),
        Answers::Ranked(_) => n_kept < 2,
        Answers::Pair { .. } | Answers::Labelled { .. } | Answers::Demonstration(_) => true,
    };
    if seen.is_unscored {
        return (responses, comparisons);
    }
    seen.left_answers = responses.len() - n_kept;
    let mut is_kept = is_kept.iter();
    (responses.into_iter().filter(|_| is_kept.next().is_some_and(|is_kept| *is_kept)).collect(), comparisons)
}
