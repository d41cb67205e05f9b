//! The credit of the tokens of an answer: the implicit reward, and its rivals.
use std::ops::Range;
use std::sync::Arc;

use datasets::{Example, Origin, PreferenceRecord, Tokenise};
use mdp::token::{TokenMdp, TokenState};
use mdp::{Episode, Mdp};
use models::causal::CausalLm;
use models::formats::ModelTokenizer;
use policies::Policy;

use super::answers::{ChatRecord, CreditRecord, RecordAnswer};
use super::told::Told;
use super::{CreditedAnswer, MEASURES};
use crate::Failure;
use crate::judge::reward::TextReward;
use crate::text::places;

/// The models that credit is computed with.
pub(super) struct Crediting<'a> {
    pub(super) mdp: &'a TokenMdp,
    pub(super) policy: &'a CausalLm,
    pub(super) reference: &'a CausalLm,
    pub(super) reward: Option<&'a TextReward>,
    pub(super) tokenise: &'a Tokenise,
    pub(super) tokenizer: &'a ModelTokenizer,
    pub(super) beta: f64,
}

impl Crediting<'_> {
    /// The answers of a record with the credit of their tokens, by each kind in the order of [`MEASURES`].
    pub(super) fn credit(&self, index: usize, asked: &CreditRecord) -> Result<Vec<CreditedAnswer>, Failure> {
        let of = |(at, given): (usize, &RecordAnswer)| match &asked.chat {
            Some(chat) => self.of_chat(index, (asked, chat), given, at),
            None => self.of_answer(index, asked, given),
        };
        asked.answers.iter().enumerate().map(of).collect()
    }

    /// An answer of a conversation: its given tokens have no credit.
    fn of_chat(
        &self,
        index: usize,
        (asked, chat): (&CreditRecord, &ChatRecord),
        given: &RecordAnswer,
        at: usize,
    ) -> Result<CreditedAnswer, Failure> {
        let told = chat.record.answers.texts()[at].clone();
        let record = PreferenceRecord { answers: datasets::Answers::Demonstration(told), ..chat.record.clone() };
        let example = self.example(&asked.origin, &record, datasets::Truncation::KeepEnd)?;
        let response = &example.responses[0];
        let (text, places) = places(self.tokenizer, response)?;
        let characters: Vec<char> = text.chars().collect();
        let is_blank = |place: &Range<usize>| characters[place.clone()].iter().all(|c| c.is_whitespace());
        // What the template writes behind the last end token is no part of what is said.
        let n_blank = places.iter().rev().take_while(|place| is_blank(place)).count();
        let start = TokenState::new(Arc::clone(&example.prompt));
        let mut columns = self.of_models(&start, response, response.len() - n_blank)?;
        let words: Vec<Range<usize>> = places.iter().map(|place| trimmed(&characters, place)).collect();
        columns.extend(of_places(&words));
        let told = Told::of(&record, response, &text, &places);
        if let Some(reward) = self.reward {
            columns.push(told.rewards(reward, &record, &words)?);
        }
        let is_given: Vec<bool> = response.weights().iter().map(|weight| *weight == 0.0).collect();
        for column in &mut columns {
            column.iter_mut().zip(&is_given).filter(|(_, is_given)| **is_given).for_each(|(credit, _)| *credit = 0.0);
        }
        let spans = chat.spans_of(at).map(|spans| told.spans(&asked.origin, spans)).transpose()?;
        let is_wrong = |(word, is_given): (&Range<usize>, &bool)| {
            !is_given && spans.as_ref().is_some_and(|spans| meets(word, spans))
        };
        let wrong = spans.is_some().then(|| words.iter().zip(&is_given).map(is_wrong).collect());
        let columns = MEASURES.iter().map(|(name, _)| *name).zip(columns).collect();
        let unmeasured = Some(words.iter().map(|word| !told.is_content(word)).collect());
        let (origin, side, tokens) = (asked.origin.to_string(), given.side, response.to_vec());
        let given = is_given.contains(&true).then_some(is_given);
        Ok(CreditedAnswer { index, origin, side, text, spans, tokens, places, wrong, given, unmeasured, columns })
    }

    /// The tokens of a record.
    fn example(
        &self,
        origin: &Origin,
        record: &PreferenceRecord,
        truncation: datasets::Truncation,
    ) -> Result<Example, Failure> {
        let truncation = self.tokenise.settings().truncation.unwrap_or(truncation);
        self.tokenise.example(0, record, truncation)?.0.ok_or_else(|| {
            let text = "the prompt alone is as long as the most that prompt and answer may have (`data.max_length`), or no \
                        turn of the answer fits";
            Failure::failed(format!("{origin}: {text}"))
        })
    }

    fn of_answer(&self, index: usize, asked: &CreditRecord, given: &RecordAnswer) -> Result<CreditedAnswer, Failure> {
        let located = self.tokenise.located(&asked.origin, &asked.prompt, &given.text)?;
        let record = datasets::PreferenceRecord::new(
            asked.origin.clone(),
            asked.prompt.as_str().into(),
            datasets::Answers::Demonstration(given.text.as_str().into()),
        );
        let example = self.example(&asked.origin, &record, datasets::Truncation::KeepBoth)?;
        let tokens = example.responses[0].to_vec();
        let end = given.text.chars().count();
        // Behind the text there is its end token.
        let place = |at: usize| located.get(at).map_or(end..end, |token| token.span.clone());
        let places: Vec<Range<usize>> = (0..tokens.len()).map(place).collect();
        let start = TokenState::new(Arc::clone(&example.prompt));
        let mut columns = self.of_models(&start, &tokens, tokens.len())?;
        let characters: Vec<char> = given.text.chars().collect();
        let words: Vec<Range<usize>> = places.iter().map(|place| trimmed(&characters, place)).collect();
        columns.extend(of_places(&words));
        if let Some(reward) = self.reward {
            columns.push(of_reward(reward, asked, &given.text, &places)?);
        }
        let wrong = given.spans.as_ref().map(|spans| words.iter().map(|word| meets(word, spans)).collect());
        let (origin, side, text) = (asked.origin.to_string(), given.side, given.text.clone());
        let columns = MEASURES.iter().map(|(name, _)| *name).zip(columns).collect();
        Ok(CreditedAnswer {
            index,
            origin,
            side,
            text,
            spans: given.spans.clone(),
            tokens,
            places,
            wrong,
            given: None,
            unmeasured: None,
            columns,
        })
    }

    /// The kinds that models give: the implicit reward, its two parts, and each model alone. The first `n_said` tokens are what
    /// is said; behind them there is white space of a template.
    fn of_models(&self, start: &TokenState, tokens: &[u32], n_said: usize) -> Result<Vec<Vec<f64>>, Failure> {
        let episode = [Episode::whole(start.clone(), tokens.to_vec())];
        let policy = self.policy.score(self.mdp, &episode)?.log_probs.row(0).to_vec();
        let reference = self.reference.score(self.mdp, &episode)?.log_probs.row(0).to_vec();
        let mut states = vec![start.clone()];
        for token in tokens {
            states.push(self.mdp.step(&states[states.len() - 1], token));
        }
        let is_ended = tokens[..n_said].last().is_some_and(|last| self.mdp.eos.contains(last));
        // What has ended has the value 0, and a model that may be as long as its positions is asked no further.
        let asked = if is_ended { &states[..n_said] } else { &states[..] };
        let ours = self.policy.log_partitions(self.mdp, asked)?;
        let theirs = self.reference.log_partitions(self.mdp, asked)?;
        let mut values: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| self.beta * (ours - theirs)).collect();
        values.resize(states.len(), 0.0);
        let value: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let ratio: Vec<f64> = policy.iter().zip(&reference).map(|(p, r)| self.beta * (p - r)).collect();
        let bellman = ratio.iter().zip(&value).map(|(ratio, value)| ratio - value).collect();
        Ok(vec![ratio, bellman, value, policy, reference])
    }
}

/// The kinds that know only where a token stands and how long it is.
fn of_places(words: &[Range<usize>]) -> [Vec<f64>; 2] {
    let position = (0..words.len()).map(|at| 0.0 - at as f64).collect();
    [position, words.iter().map(|word| 0.0 - word.len() as f64).collect()]
}

/// The reward model's value of the answer up to each token's end, less that up to the end before.
fn of_reward(
    reward: &TextReward,
    asked: &CreditRecord,
    answer: &str,
    places: &[Range<usize>],
) -> Result<Vec<f64>, Failure> {
    let byte = |at: usize| answer.char_indices().nth(at).map_or(answer.len(), |(byte, _)| byte);
    let mut ends = vec![0];
    for place in places {
        ends.push(byte(place.end).max(ends[ends.len() - 1]));
    }
    let rewards = reward.of_beginnings(&asked.origin, &asked.prompt, answer, &ends)?;
    if rewards.iter().any(|reward| !reward.is_finite()) {
        let text = "the rewards of `credit.reward_model` are no numbers; its weights overflow or are damaged";
        return Err(Failure::failed(format!("{}: {text}", asked.origin)));
    }
    Ok(rewards.windows(2).map(|pair| pair[1] - pair[0]).collect())
}

/// A token's place without white space at its ends, unless it is nothing else.
fn trimmed(text: &[char], place: &Range<usize>) -> Range<usize> {
    let is_word = |at: &usize| !text[*at].is_whitespace();
    match (place.clone().find(is_word), place.clone().rev().find(is_word)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => place.clone(),
    }
}

/// Whether a place and one of the spans have a character in common.
fn meets(place: &Range<usize>, spans: &[Range<usize>]) -> bool {
    spans.iter().any(|span| place.start < span.end && span.start < place.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_wrong_where_any_of_its_characters_is() {
        let text: Vec<char> = " my Anna, ".chars().collect();
        let wrong = |place: Range<usize>, span: Range<usize>| meets(&trimmed(&text, &place), &[span]);
        assert!(wrong(3..8, 4..8) && wrong(3..8, 7..9) && wrong(3..8, 3..5));
        // A span with the space behind the word does not make the next token wrong, nor one with the space before.
        assert!(!wrong(3..8, 0..4) && !wrong(8..9, 4..8) && !wrong(0..3, 3..8));
        // White space alone is what it covers, and the end token covers nothing.
        assert!(wrong(9..10, 9..10) && !wrong(10..10, 0..10));
    }
}
