//! Text to tokens: prompt and answers of a record, cut to length so that its answers stay comparable.
use std::str::FromStr;

use tokenizers::Tokenizer;

use crate::audit::Observation;
use crate::chat::ChatTemplate;
use crate::error::DatasetError;
use crate::example::{Example, ExampleKind};
use crate::record::{Answers, Message, Origin, PreferenceRecord, Text};

/// The most bytes of a text. A tokenizer takes some hundred bytes of memory for each of them and a second for a million;
/// of texts that are longer, only a sliver would be left after any cut.
const TEXT_LIMIT: usize = 2 << 20;

/// Which end of a prompt stays when it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// The start.
    KeepStart,
    /// The end, as for dialogues.
    KeepEnd,
}

/// How prompt and answer become tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenization {
    /// Each by itself, as the original DPO code does. No token spans the border.
    #[default]
    Separate,
    /// Prompt and answer as one text, as TRL does: the answers begin at the first token that is not the same in the
    /// prompt alone and in the prompt with any of them. A token that spans the border is the answer's.
    Joint,
}

/// How to tokenise. The defaults are the original DPO code's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TokenSettings {
    /// The token that ends an answer; appended to every answer that does not end with it, and scored.
    pub eos: u32,
    /// The token that begins a text, where the model has one.
    pub bos: Option<u32>,
    /// Whether `bos` is put before every prompt that does not begin with it.
    pub prepend_bos: bool,
    /// The most tokens prompt and answer may have together.
    pub max_length: usize,
    /// The most tokens a prompt keeps when it must be cut.
    pub max_prompt_length: usize,
    /// Which end of a long prompt is kept; what suits the format if `None`.
    pub truncation: Option<Truncation>,
    /// Whether prompt and answer are tokenised separately.
    pub tokenization: Tokenization,
}

impl TokenSettings {
    /// The original DPO code's settings, for a model with this EOS.
    pub fn new(eos: u32) -> Self {
        Self {
            eos,
            bos: None,
            prepend_bos: false,
            max_length: 512,
            max_prompt_length: 256,
            truncation: None,
            tokenization: Tokenization::Separate,
        }
    }
}

/// A tokeniser, a chat template where the model has one, and settings that fit them.
#[derive(Debug)]
pub struct Tokenise {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    settings: TokenSettings,
    eos_text: String,
}

impl Tokenise {
    /// Checks the settings against the tokeniser. What the tokeniser's own file says about truncation and padding is
    /// not used: both would change examples unseen.
    ///
    /// # Errors
    /// Lengths that leave no room for a prompt or an answer; a token that the tokeniser does not have.
    pub fn new(
        tokenizer: &Tokenizer,
        template: Option<ChatTemplate>,
        settings: TokenSettings,
    ) -> Result<Self, DatasetError> {
        let TokenSettings { eos, bos, max_length, max_prompt_length, .. } = settings;
        let setting = |name, value: String, hint| Err(DatasetError::Setting { name, value, hint });
        if max_prompt_length == 0 {
            return setting("max_prompt_length", "0".to_owned(), "a prompt needs at least one token");
        }
        if max_length <= max_prompt_length {
            let hint = "it must be more than max_prompt_length, or no answer has room";
            return setting("max_length", format!("{max_length} (max_prompt_length is {max_prompt_length})"), hint);
        }
        let Some(eos_text) = tokenizer.id_to_token(eos) else {
            return setting("eos", eos.to_string(), "the tokeniser has no such token");
        };
        if let Some(bos) = bos
            && tokenizer.id_to_token(bos).is_none()
        {
            return setting("bos", bos.to_string(), "the tokeniser has no such token");
        }
        let mut tokenizer = tokenizer.clone();
        tokenizer.with_padding(None);
        if let Err(error) = tokenizer.with_truncation(None) {
            return Err(DatasetError::Template { message: error.to_string() });
        }
        Ok(Self { tokenizer, template, settings, eos_text })
    }

    /// The settings.
    pub fn settings(&self) -> &TokenSettings {
        &self.settings
    }

    /// The same with the given end kept where the settings leave it open.
    pub(crate) fn truncation_or(&self, default: Truncation) -> Truncation {
        self.settings.truncation.unwrap_or(default)
    }

    /// Tokenises one record; `index` is its position in the data. What was seen on the way goes to the audit.
    ///
    /// The rule for lengths is the original's: where prompt and longest answer together are over `max_length`, the
    /// prompt is cut to `max_prompt_length`; where they still are, all answers are cut to
    /// `max_length - max_prompt_length`, which may cost them their EOS. Prompt and cut are the same for all answers,
    /// so they stay comparable.
    ///
    /// # Errors
    /// The record is a chat and there is no template, or the template refuses it; the tokeniser fails.
    pub fn example(
        &self,
        index: u64,
        record: &PreferenceRecord,
        truncation: Truncation,
    ) -> Result<(Example, Observation), DatasetError> {
        let strings = self.strings(record)?;
        let mut seen = Observation::default();
        let (mut prompt, mut responses) = self.tokens(&record.origin, &strings, &mut seen)?;
        for response in &mut responses {
            self.end(response, &mut seen);
        }
        let n_bos = self.start(&mut prompt, &mut seen);
        seen.prompt_length = prompt.len();
        seen.response_lengths = responses.iter().map(Vec::len).collect();
        seen.is_tied = record.is_tied;
        self.cut(&mut prompt, &mut responses, n_bos, truncation, &mut seen);
        let (kind, is_pair) = match &record.answers {
            Answers::Pair { .. } => (ExampleKind::Pair, true),
            Answers::Ranked(_) => (ExampleKind::Ranked, false),
            Answers::Labelled { desirable, .. } => (ExampleKind::Labelled { desirable: *desirable }, false),
            Answers::Demonstration(_) => (ExampleKind::Demonstration, false),
        };
        seen.kind = Some(kind);
        seen.is_identical = is_pair && responses[0] == responses[1];
        Ok((Example { index, prompt: prompt.into(), responses, kind, preference: record.preference }, seen))
    }

    /// The record as strings; a chat goes through the template.
    fn strings(&self, record: &PreferenceRecord) -> Result<Strings, DatasetError> {
        let texts = record.answers.texts();
        if let Text::Plain(prompt) = &record.prompt
            && let Some(answers) = texts.iter().map(|text| plain(text)).collect::<Option<Vec<_>>>()
        {
            return Ok(Strings { prompt: prompt.clone(), answers });
        }
        let Some(template) = &self.template else {
            let message = format!("{}: the record is a chat, and the model has no chat template", record.origin);
            return Err(DatasetError::Template { message });
        };
        let prompt = messages(&record.prompt, "user");
        let answers: Vec<Vec<Message>> = texts.iter().map(|text| messages(text, "assistant")).collect();
        let answers: Vec<&[Message]> = answers.iter().map(Vec::as_slice).collect();
        let (prompt, answers) = template
            .prompt_and_answers(&prompt, &answers)
            .map_err(|error| DatasetError::Chat { origin: record.origin.clone(), message: error.to_string() })?;
        let answers = answers.into_iter().map(|answer| self.up_to_eos(answer)).collect();
        Ok(Strings { prompt, answers })
    }

    /// Templates write white space after the EOS of an answer; an episode ends with its EOS.
    fn up_to_eos(&self, mut answer: String) -> String {
        let trimmed = answer.trim_end();
        if trimmed.ends_with(&self.eos_text) {
            answer.truncate(trimmed.len());
        }
        answer
    }

    /// The tokens of the prompt, and of every answer without EOS.
    fn tokens(
        &self,
        origin: &Origin,
        strings: &Strings,
        seen: &mut Observation,
    ) -> Result<(Vec<u32>, Vec<Vec<u32>>), DatasetError> {
        let mut prompt = self.encode(origin, &strings.prompt)?;
        let mut answers = Vec::with_capacity(strings.answers.len());
        if self.settings.tokenization == Tokenization::Separate {
            for answer in &strings.answers {
                seen.boundary_merges += usize::from(self.merges(origin, &strings.prompt, answer)?);
                answers.push(self.encode(origin, answer)?);
            }
            return Ok((prompt, answers));
        }
        let mut n_shared = prompt.len();
        for answer in &strings.answers {
            let whole = self.encode(origin, &[&*strings.prompt, answer].concat())?;
            let n_same = prompt.iter().zip(&whole).take_while(|(first, second)| first == second).count();
            seen.boundary_merges += usize::from(n_same < prompt.len());
            n_shared = n_shared.min(n_same);
            answers.push(whole);
        }
        prompt.truncate(n_shared);
        for answer in &mut answers {
            answer.drain(..n_shared);
        }
        Ok((prompt, answers))
    }

    /// Ends an answer with EOS.
    fn end(&self, tokens: &mut Vec<u32>, seen: &mut Observation) {
        let eos = self.settings.eos;
        seen.blank_answers += usize::from(tokens.is_empty() || tokens[..] == [eos]);
        if tokens.last() != Some(&eos) {
            tokens.push(eos);
        }
        seen.eos_inside += usize::from(tokens[..tokens.len() - 1].contains(&eos));
    }

    /// Puts BOS before the prompt if asked to, and something before an empty one, so that the first answer token has
    /// a predictor. Gives how many tokens at the start must survive a cut.
    fn start(&self, prompt: &mut Vec<u32>, seen: &mut Observation) -> usize {
        let TokenSettings { eos, bos, prepend_bos, .. } = self.settings;
        let begins = |prompt: &[u32]| bos.is_some() && prompt.first().copied() == bos;
        seen.double_bos = begins(prompt) && (prepend_bos || begins(&prompt[1..]));
        seen.empty_prompt = prompt.is_empty();
        if let Some(bos) = bos
            && prepend_bos
            && !begins(prompt)
        {
            prompt.insert(0, bos);
        } else if prompt.is_empty() {
            prompt.push(bos.unwrap_or(eos));
        }
        usize::from(prepend_bos && begins(prompt))
    }

    fn cut(
        &self,
        prompt: &mut Vec<u32>,
        responses: &mut [Vec<u32>],
        n_bos: usize,
        truncation: Truncation,
        seen: &mut Observation,
    ) {
        let TokenSettings { eos, max_length, max_prompt_length, .. } = self.settings;
        let longest = responses.iter().map(Vec::len).max().unwrap_or(0);
        if prompt.len() + longest <= max_length {
            return;
        }
        if prompt.len() > max_prompt_length {
            seen.is_prompt_cut = true;
            match truncation {
                Truncation::KeepStart => prompt.truncate(max_prompt_length),
                Truncation::KeepEnd => {
                    let n_dropped = prompt.len() - max_prompt_length;
                    prompt.drain(n_bos..n_bos + n_dropped);
                }
            }
        }
        if prompt.len() + longest > max_length {
            for response in responses.iter_mut() {
                let room = max_length - max_prompt_length;
                seen.cut_responses += usize::from(response.len() > room);
                response.truncate(room);
                seen.eos_lost += usize::from(response.last() != Some(&eos));
            }
        }
    }

    /// Whether a token would span the border between prompt and answer if they were tokenised as one text. Only the
    /// text around the border is looked at: merges do not reach further than a word.
    fn merges(&self, origin: &Origin, prompt: &str, answer: &str) -> Result<bool, DatasetError> {
        const REACH: usize = 48;
        let start = prompt.char_indices().rev().nth(REACH - 1).map_or(0, |(at, _)| at);
        let end = answer.char_indices().nth(REACH).map_or(answer.len(), |(at, _)| at);
        let (before, after) = (&prompt[start..], &answer[..end]);
        let mut apart = self.encode(origin, before)?;
        apart.extend(self.encode(origin, after)?);
        Ok(apart != self.encode(origin, &[before, after].concat())?)
    }

    fn encode(&self, origin: &Origin, text: &str) -> Result<Vec<u32>, DatasetError> {
        if text.len() > TEXT_LIMIT {
            return Err(DatasetError::TooLong { origin: origin.clone(), limit: TEXT_LIMIT });
        }
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| DatasetError::Tokenizer { origin: origin.clone(), message: error.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// A record as strings.
struct Strings {
    prompt: String,
    answers: Vec<String>,
}

fn plain(text: &Text) -> Option<String> {
    match text {
        Text::Plain(text) => Some(text.clone()),
        Text::Chat(_) => None,
    }
}

fn messages(text: &Text, role: &str) -> Vec<Message> {
    match text {
        Text::Plain(text) => vec![Message::new(role, text)],
        Text::Chat(messages) => messages.clone(),
    }
}

macro_rules! from_name {
    ($type:ty, $what:literal, $($name:literal => $value:expr),+) => {
        impl FromStr for $type {
            type Err = DatasetError;

            fn from_str(name: &str) -> Result<Self, DatasetError> {
                match name {
                    $($name => Ok($value),)+
                    _ => Err(DatasetError::UnknownName {
                        what: $what,
                        name: name.to_owned(),
                        known: [$($name),+].join(", "),
                    }),
                }
            }
        }
    };
}

from_name!(Truncation, "truncation", "keep-start" => Self::KeepStart, "keep-end" => Self::KeepEnd);
from_name!(Tokenization, "tokenization", "separate" => Self::Separate, "joint" => Self::Joint);

#[cfg(test)]
mod tests;
