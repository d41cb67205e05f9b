//! The border between prompt and answer tokens.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::Observation;
use super::scored::Placed;
use super::{Origin, TokenSettings, Tokenise, Tokenization};
use crate::chat::{RenderedAnswer, WrittenTurn};
use crate::error::DatasetError;
use crate::response::Response;

/// Characters that few tokens merge with.
pub(super) const GUARDS: [&str; 5] = ["\n", "\u{1}", "|", "]", "."];

/// Characters on either side of a border that decide its tokens: merges do not cross words.
const REACH: usize = 48;

/// The strings of a record.
pub(super) enum Strings {
    Plain {
        prompt: String,
        answers: Vec<String>,
    },
    /// Rendered by a chat template: the prompt, and the prompt with each answer.
    Chat {
        prompt: String,
        wholes: Vec<RenderedAnswer>,
        /// The generation prompt at the prompt's end.
        header: String,
    },
}

impl Strings {
    pub(super) fn is_chat(&self) -> bool {
        matches!(self, Self::Chat { .. })
    }
}

impl Tokenise {
    /// The tokens of the prompt and of every answer, before truncation.
    pub(super) fn tokens(
        &self,
        origin: &Origin,
        strings: &Strings,
        seen: &mut Observation,
    ) -> Result<(Vec<u32>, Vec<Response>), DatasetError> {
        let is_joint = self.settings.tokenization == Tokenization::Joint;
        match strings {
            Strings::Plain { prompt, answers } if is_joint => {
                let wholes = answers.iter().map(|answer| self.encode_all(origin, &self.ended_text(prompt, answer)));
                let (prompt, answers) = part(self.encode_all(origin, prompt)?, wholes.collect::<Result<_, _>>()?, seen);
                Ok((prompt, answers.into_iter().map(Response::from).collect()))
            }
            Strings::Plain { prompt, answers } => {
                let start = self.begin(origin, prompt)?;
                let answer = |answer: &String| self.answer(origin, prompt, &start, answer, seen).map(Response::from);
                let answers = answers.iter().map(answer).collect::<Result<_, _>>()?;
                Ok((start, answers))
            }
            Strings::Chat { prompt, wholes, .. } => self.chat_tokens(origin, prompt, wholes, seen),
        }
    }

    /// The tokens of a rendered chat.
    fn chat_tokens(
        &self,
        origin: &Origin,
        prompt: &str,
        wholes: &[RenderedAnswer],
        seen: &mut Observation,
    ) -> Result<(Vec<u32>, Vec<Response>), DatasetError> {
        let answers: Option<Vec<&str>> = wholes.iter().map(|whole| whole.text.strip_prefix(prompt)).collect();
        let is_prefix = answers.is_some();
        let start = self.encode(origin, prompt)?;
        let is_joint = self.settings.tokenization == Tokenization::Joint;
        let before = prompt.chars().count();
        // Byte by byte the same as one text, as no space is added: a template's turns begin with tokens of their own.
        if let Some(answers) = answers.filter(|_| !is_joint && !self.adds_space) {
            let mut found = Vec::with_capacity(answers.len());
            for (answer, whole) in answers.into_iter().zip(wholes) {
                let tokens = self.answer(origin, prompt, &start, answer, seen)?;
                found.push(match &whole.turns {
                    None => self.closed(tokens),
                    Some(turns) => self.with_turns(self.placed(origin, answer, before)?, turns),
                });
            }
            return Ok((start, found));
        }
        let encoded = wholes.iter().map(|whole| self.encode(origin, &whole.text)).collect::<Result<_, _>>()?;
        let (start, answers) = part(start, encoded, seen);
        let mut found = Vec::with_capacity(answers.len());
        for (tokens, whole) in answers.into_iter().zip(wholes) {
            if is_prefix && whole.turns.is_none() {
                found.push(self.closed(tokens));
                continue;
            }
            let mut placed: Placed = self.placed(origin, &whole.text, 0)?;
            placed.places.drain(..start.len());
            let mut turns = turns_behind(whole, before, is_prefix);
            for turn in turns.iter_mut().filter(|turn| is_joint && !turn.is_marked && turn.span.start > before) {
                turn.span.start = self.first_changed(origin, &whole.text, turn.span.start)?;
            }
            found.push(self.with_turns(Placed { tokens, ..placed }, &turns));
        }
        Ok((start, found))
    }

    /// Encodes a plain text with the post-processor's prefix but without its suffix.
    pub(super) fn begin(&self, origin: &Origin, text: &str) -> Result<Vec<u32>, DatasetError> {
        Ok([&self.prefix[..], &self.encode(origin, text)?].concat())
    }

    /// Prompt, answer and EOS as one text.
    pub(super) fn ended_text(&self, prompt: &str, answer: &str) -> String {
        let ends = |id: &u32| self.tokenizer.id_to_token(*id).is_some_and(|end| answer.ends_with(&end));
        let end = if self.settings.ends.iter().any(ends) { "" } else { &self.eos_text };
        [prompt, answer, end].concat()
    }

    /// The tokens of an answer after a prompt, sharing none with it.
    fn answer(
        &self,
        origin: &Origin,
        prompt: &str,
        start: &[u32],
        answer: &str,
        seen: &mut Observation,
    ) -> Result<Vec<u32>, DatasetError> {
        if !self.adds_space {
            seen.boundary_merges += usize::from(self.merges(origin, prompt, answer)?);
            return self.encode(origin, answer);
        }
        let whole = self.begin(origin, &[prompt, answer].concat())?;
        if let Some(rest) = whole.strip_prefix(start) {
            return Ok(rest.to_vec());
        }
        seen.boundary_merges += 1;
        self.behind_a_guard(origin, answer)
    }

    /// Encodes a continuation for tokenisers that add a space to the start of a text: encodes it after a guard
    /// character that no token merges with, and drops the guard.
    pub(super) fn behind_a_guard(&self, origin: &Origin, text: &str) -> Result<Vec<u32>, DatasetError> {
        for guard in GUARDS {
            let before = self.encode(origin, guard)?;
            // The faster call gives no offsets.
            let whole = self
                .tokenizer
                .encode([guard, text].concat(), false)
                .map_err(|error| DatasetError::Tokenizer { origin: origin.clone(), message: error.to_string() })?;
            let begins_behind = whole.get_offsets().get(before.len()).is_none_or(|(start, _)| *start >= guard.len());
            if let Some(rest) = whole.get_ids().strip_prefix(&before[..])
                && begins_behind
            {
                return Ok(rest.to_vec());
            }
        }
        self.encode(origin, text)
    }

    /// Ensures that the prompt has a token, so that the first answer token has a context, and removes a duplicate BOS
    /// (with separate tokenisation). Returns the number of initial tokens to keep in truncation.
    pub(super) fn start(&self, prompt: &mut Vec<u32>, seen: &mut Observation) -> usize {
        let TokenSettings { ends, bos, tokenization, .. } = &self.settings;
        let begins = |prompt: &[u32]| bos.is_some() && prompt.first() == bos.as_ref();
        seen.double_bos = begins(prompt) && begins(&prompt[1..]);
        seen.empty_prompt = prompt.len() <= self.prefix.len() && *prompt == self.prefix[..prompt.len()];
        if seen.double_bos && *tokenization == Tokenization::Separate && self.prefix.len() == 1 {
            prompt.remove(0);
        }
        if prompt.is_empty() {
            prompt.push(ends[0]);
        }
        let has_prefix = !self.prefix.is_empty() && prompt.starts_with(&self.prefix);
        if has_prefix { self.prefix.len() } else { usize::from(begins(prompt)) }
    }

    /// Number of the prompt's tokens in the generation prompt.
    pub(super) fn header_length(&self, origin: &Origin, strings: &Strings) -> Result<usize, DatasetError> {
        match strings {
            Strings::Chat { header, .. } if !header.is_empty() => Ok(self.encode(origin, header)?.len()),
            Strings::Plain { .. } | Strings::Chat { .. } => Ok(0),
        }
    }

    /// The character at which the tokens of a text begin to differ from those of what stands before character `at`, `at` at
    /// the latest: a later turn begins there, as the first one does at the border of the prompt.
    fn first_changed(&self, origin: &Origin, text: &str, at: usize) -> Result<usize, DatasetError> {
        let from = at.saturating_sub(REACH);
        let near: String = text.chars().skip(from).take(at - from + REACH).collect();
        let behind = near.char_indices().nth(at - from).map_or(near.len(), |(at, _)| at);
        let alone = self.placed(origin, &near[..behind], from)?;
        let whole = self.placed(origin, &near, from)?;
        let n_same = alone.tokens.iter().zip(&whole.tokens).take_while(|(first, second)| first == second).count();
        Ok(whole.places.get(n_same).map_or(at, |place| place.start.min(at)))
    }

    /// Whether a token would span the border if prompt and answer were one text.
    fn merges(&self, origin: &Origin, prompt: &str, answer: &str) -> Result<bool, DatasetError> {
        let start = prompt.char_indices().rev().nth(REACH - 1).map_or(0, |(at, _)| at);
        let end = answer.char_indices().nth(REACH).map_or(answer.len(), |(at, _)| at);
        let (before, after) = (&prompt[start..], &answer[..end]);
        let mut apart = self.encode(origin, before)?;
        apart.extend(self.encode(origin, after)?);
        Ok(apart != self.encode(origin, &[before, after].concat())?)
    }
}

/// The turns of an answer behind a prompt of `before` characters. Where every answer goes on from the prompt, the first
/// turn begins at the border, with a token of the prompt's that an answer changes; where one does not (it has no such
/// header), what the other ones share with the prompt is given all the same.
fn turns_behind(whole: &RenderedAnswer, before: usize, is_prefix: bool) -> Vec<WrittenTurn> {
    let all = || vec![WrittenTurn { span: before..whole.text.chars().count(), weight: 1.0, is_marked: false }];
    let mut turns = whole.turns.clone().unwrap_or_else(all);
    let is_first = |turn: &&mut WrittenTurn| is_prefix && !turn.is_marked && turn.span.start == before;
    if let Some(first) = turns.first_mut().filter(is_first) {
        first.span.start = 0;
    }
    turns
}

/// Splits prompt and answers at the first token that differs between the prompt alone and the prompt with any answer.
fn part(mut prompt: Vec<u32>, mut wholes: Vec<Vec<u32>>, seen: &mut Observation) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut n_shared = prompt.len();
    for whole in &wholes {
        let n_same = prompt.iter().zip(whole).take_while(|(first, second)| first == second).count();
        seen.boundary_merges += usize::from(n_same < prompt.len());
        n_shared = n_shared.min(n_same);
    }
    prompt.truncate(n_shared);
    for whole in &mut wholes {
        whole.drain(..n_shared);
    }
    (prompt, wholes)
}

/// The post-processor's prefix, determined from non-empty texts.
pub(super) fn prefix(tokenizer: &Tokenizer) -> Vec<u32> {
    for text in ["a", "0", ".", " ", "the", "\n"] {
        let (Ok(bare), Ok(whole)) = (tokenizer.encode_fast(text, false), tokenizer.encode_fast(text, true)) else {
            continue;
        };
        let mask = whole.get_special_tokens_mask();
        if !bare.is_empty() && mask.contains(&0) {
            let n = mask.iter().take_while(|is_special| **is_special == 1).count();
            return whole.get_ids()[..n].to_vec();
        }
    }
    Vec::new()
}

/// Whether a tokeniser adds a space to the start of every text, as SentencePiece does.
pub(super) fn adds_space(tokenizer: &Tokenizer) -> bool {
    let part = |value: Result<Value, serde_json::Error>| value.unwrap_or(Value::Null);
    let normalizer = part(serde_json::to_value(tokenizer.get_normalizer()));
    let pre_tokenizer = part(serde_json::to_value(tokenizer.get_pre_tokenizer()));
    let steps = |value: &Value, list: &str| value[list].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    steps(&normalizer, "normalizers").iter().any(|step| step["type"] == "Prepend")
        || steps(&pre_tokenizer, "pretokenizers").iter().any(|step| {
            step["type"] == "Metaspace" && step["prepend_scheme"] != "never"
                || step["type"] == "ByteLevel" && step["add_prefix_space"] == true
        })
}
