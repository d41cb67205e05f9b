//! Whole turns that truncation leaves out of a chat's prompt.
use std::collections::BTreeSet;
use std::ops::Range;

use super::border::Strings;
use super::cut::Kept;
use super::{Observation, Tokenise, Untruncated};
use crate::error::DatasetError;
use crate::record::{Message, PreferenceRecord, Text};
use crate::truncation::Truncation;

impl Tokenise {
    /// The record with fewer turns in its prompt, if that is a chat and too long. Exchanges are left out whole, a question
    /// with what follows it until the next one, in the order that `truncation` says; system messages and the last exchange,
    /// which is answered, stay. `None` if nothing is left out.
    pub(super) fn without_turns(
        &self,
        record: &PreferenceRecord,
        whole: &Untruncated,
        truncation: Truncation,
        seen: &mut Observation,
    ) -> Result<Option<PreferenceRecord>, DatasetError> {
        let longest = whole.responses.iter().map(|response| response.len()).max().unwrap_or(0);
        let length = whole.prompt.len();
        let (Text::Chat(messages), Some(most)) = (&record.prompt, self.settings.max_prompt_length) else {
            return Ok(None);
        };
        if length + longest <= self.settings.max_length || length <= most {
            return Ok(None);
        }
        let (n_first, kept) = exchanges(messages);
        let order = leaving(kept.len(), truncation);
        // The messages without the exchanges that leave first, `n_left` of them, as a record with its prompt's length; a
        // template may refuse the rest of a conversation, such as one that no user begins.
        let without = |n_left: usize| {
            let leaves: BTreeSet<usize> = order[..n_left].iter().copied().collect();
            let rest = kept.iter().enumerate().filter(|(at, _)| !leaves.contains(at));
            let rest = rest.flat_map(|(_, range)| messages[range.clone()].iter());
            let rest: Vec<Message> = messages[..n_first].iter().chain(rest).cloned().collect();
            let shorter = PreferenceRecord { prompt: Text::Chat(rest), ..record.clone() };
            let length = self.untruncated(&shorter, &mut Observation::default()).ok()?.prompt.len();
            Some((shorter, length))
        };
        // The fewest that have to leave: fewer turns are fewer tokens, so half of the numbers left are tried out at a time.
        let (mut too_few, mut enough) = (0, order.len());
        while too_few + 1 < enough {
            let middle = too_few.midpoint(enough);
            let fits = without(middle).is_some_and(|(_, length)| length <= most);
            (too_few, enough) = if fits { (too_few, middle) } else { (middle, enough) };
        }
        let found = (enough..=order.len()).filter(|n| *n > 0).find_map(|n| Some((n, without(n)?)));
        let Some((n_left, (shorter, length))) = found else { return Ok(None) };
        let mut left: Vec<usize> = order[..n_left].to_vec();
        left.sort_unstable();
        let left: Vec<&Message> = left.into_iter().flat_map(|at| &messages[kept[at].clone()]).collect();
        let cost = whole.prompt.len().saturating_sub(length);
        self.count_left(record, &left, cost, seen)?;
        seen.is_prompt_cut = true;
        seen.cut_tokens.prompt += cost;
        Ok(Some(shorter))
    }

    /// Counts messages that are left out, which together cost `n` tokens, by role. A message has the share of what it says: its
    /// content, its calls and its thoughts.
    fn count_left(
        &self,
        record: &PreferenceRecord,
        messages: &[&Message],
        n: usize,
        seen: &mut Observation,
    ) -> Result<(), DatasetError> {
        let length = |message: &&Message| self.encode(&record.origin, &message.said()).map(|found| found.len());
        let lengths: Vec<usize> = messages.iter().map(length).collect::<Result<_, _>>()?;
        let (mut rest, mut of) = (n, lengths.iter().sum::<usize>().max(1));
        for (at, (message, length)) in messages.iter().zip(&lengths).enumerate() {
            let tokens = if at + 1 == messages.len() { rest } else { (rest * length + of / 2) / of.max(1) };
            (rest, of) = (rest - tokens, of - length.min(&of));
            let cut = seen.cut_roles.entry(message.role.clone()).or_default();
            (cut.tokens, cut.turns) = (cut.tokens + tokens, cut.turns + 1);
        }
        Ok(())
    }

    /// What truncation keeps of a prompt. Of a chat it is all but the content of its longest message, if that is enough;
    /// else the initial tokens and the generation prompt.
    pub(super) fn kept(&self, record: &PreferenceRecord, whole: &Untruncated) -> Result<Kept, DatasetError> {
        let Untruncated { strings, prompt, n_start, .. } = whole;
        let most = self.settings.max_prompt_length.unwrap_or(usize::MAX);
        if let (Strings::Chat { prompt: text, .. }, Text::Chat(messages)) = (strings, &record.prompt)
            && prompt.len() > most
            && let Some(longest) = messages.iter().max_by_key(|message| message.content.words().len())
        {
            let role = Some(longest.role.clone());
            if let Some(Range { start, end }) = self.place_of(record, text, prompt.len(), longest)?
                && start + prompt.len() - end < most
            {
                return Ok(Kept { n_start: start.max(*n_start), n_end: prompt.len() - end, role });
            }
            let n_end = self.header_length(&record.origin, strings)?;
            return Ok(Kept { n_start: *n_start, n_end, role });
        }
        Ok(Kept { n_start: *n_start, n_end: self.header_length(&record.origin, strings)?, role: None })
    }

    /// The tokens of a message's content in the prompt; `None` if the template writes it otherwise.
    fn place_of(
        &self,
        record: &PreferenceRecord,
        text: &str,
        n_tokens: usize,
        message: &Message,
    ) -> Result<Option<Range<usize>>, DatasetError> {
        let words = message.content.words();
        let Some(start) = text.rfind(words.trim()).filter(|_| !words.trim().is_empty()) else { return Ok(None) };
        let from = text[..start].chars().count();
        let to = from + words.trim().chars().count();
        let places = self.placed(&record.origin, text, 0)?.places;
        let is_inside = |place: &Range<usize>| place.start >= from && place.end <= to && !place.is_empty();
        let (first, last) = (places.iter().position(is_inside), places.iter().rposition(is_inside));
        Ok(first.zip(last).filter(|_| places.len() == n_tokens).map(|(first, last)| first..last + 1))
    }
}

/// The number of leading system messages, and the exchanges behind them: each begins with a question that no other
/// precedes, or with the conversation.
fn exchanges(messages: &[Message]) -> (usize, Vec<Range<usize>>) {
    let n_first = messages.iter().take_while(|message| message.is_system()).count();
    let asks = |message: &Message| message.is_given() && !message.is_tool_result();
    let begins = |at: &usize| *at == n_first || asks(&messages[*at]) && !asks(&messages[*at - 1]);
    let starts: Vec<usize> = (n_first..messages.len()).filter(begins).collect();
    let ends = starts.iter().skip(1).copied().chain([messages.len()]);
    (n_first, starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect())
}

/// The numbers of `n` exchanges in the order in which they are left out; never the last one.
fn leaving(n: usize, truncation: Truncation) -> Vec<usize> {
    let others = 0..n.saturating_sub(1);
    match truncation {
        Truncation::KeepEnd => others.collect(),
        Truncation::KeepStart => others.rev().collect(),
        // The first stays longest.
        Truncation::KeepBoth => others.clone().skip(1).chain(others.take(1)).collect(),
    }
}
