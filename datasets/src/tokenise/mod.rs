//! Tokenises prompt and answers of a record, and truncates them so that answers stay comparable.
//!
//! `border` separates prompt and answer, `scored` finds the tokens of an answer's turns, `ends` ends answers, `oldest` leaves
//! whole turns out of long prompts, `cut` truncates what is still too long, `lost` tells whose that was, `located` finds
//! tokens in their text.
mod border;
mod cut;
mod ends;
mod located;
mod lost;
mod observation;
mod oldest;
mod scored;
mod settings;

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use crate::chat::{ChatTemplate, RenderedAnswer};
use crate::error::DatasetError;
use crate::example::{Example, ExampleKind};
use crate::record::{Message, Origin, PreferenceRecord, Text};
use crate::response::Response;
use crate::truncation::Truncation;
use border::Strings;
pub use located::LocatedToken;
pub use observation::{CutRole, CutTokens, Observation};
use settings::check;
pub use settings::{TokenSettings, Tokenization};

/// Maximum size of a text, in bytes. A tokenizer takes some hundred bytes of memory per byte and a second per million
/// bytes, and truncation would discard nearly all of a longer text.
const TEXT_LIMIT: usize = 2 << 20;

/// A tokeniser with a chat template, if the model has one, and matching settings.
#[derive(Debug)]
pub struct Tokenise {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    tool_template: Option<ChatTemplate>,
    settings: TokenSettings,
    eos_text: String,
    /// Special tokens that texts may contain by name, such as the end of a turn.
    special: BTreeSet<u32>,
    /// The post-processor's prefix.
    prefix: Vec<u32>,
    /// Whether the tokeniser adds a space to the start of every text, which an answer alone must not have.
    adds_space: bool,
}

impl Tokenise {
    /// Checks the settings against the tokeniser. Truncation and padding in the tokeniser's own file are ignored, as
    /// they would change examples silently.
    ///
    /// # Errors
    /// Lengths without room for a prompt or an answer; a token unknown to the tokeniser; a truncation setting where
    /// prompts are never truncated.
    pub fn new(
        tokenizer: &Tokenizer,
        template: Option<ChatTemplate>,
        settings: TokenSettings,
    ) -> Result<Self, DatasetError> {
        let eos_text = check(&settings, tokenizer)?;
        let mut tokenizer = tokenizer.clone();
        tokenizer.with_padding(None);
        if let Err(error) = tokenizer.with_truncation(None) {
            return Err(DatasetError::Template { message: error.to_string() });
        }
        let added = tokenizer.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let prefix = border::prefix(&tokenizer);
        let adds_space = border::adds_space(&tokenizer);
        Ok(Self { tokenizer, template, tool_template: None, settings, eos_text, special, prefix, adds_space })
    }

    /// Sets a separate template for conversations with tools.
    #[must_use]
    pub fn with_tool_template(self, template: Option<ChatTemplate>) -> Self {
        Self { tool_template: template, ..self }
    }

    /// A hash of all that tokens depend on: the tokeniser, the templates, the settings.
    ///
    /// # Errors
    /// The tokeniser can't be written.
    pub(crate) fn identity(&self) -> Result<blake3::Hash, DatasetError> {
        let failed = |message: String| DatasetError::Template { message };
        let tokenizer = self.tokenizer.to_string(false).map_err(|error| failed(error.to_string()))?;
        let settings = serde_json::to_string(&self.settings).map_err(|error| failed(error.to_string()))?;
        let templates =
            [&self.template, &self.tool_template].map(|template| template.as_ref().map(ChatTemplate::identity));
        let mut hasher = blake3::Hasher::new();
        for part in [tokenizer, settings, format!("{templates:?}")] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Ok(hasher.finalize())
    }

    /// The settings.
    pub fn settings(&self) -> &TokenSettings {
        &self.settings
    }

    /// Whether there is a chat template.
    pub(crate) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Whether the chat template refers to a name; all names of reasoning count as one.
    pub(crate) fn template_mentions(&self, name: &str) -> bool {
        let names =
            if name == "reasoning_content" { &["reasoning_content", "thinking", "reasoning"] } else { &[name][..] };
        self.template.as_ref().is_some_and(|template| names.iter().any(|name| template.mentions(name)))
    }

    /// Sets the truncation if the settings leave it open.
    pub(crate) fn truncation_or(&self, default: Truncation) -> Truncation {
        self.settings.truncation.unwrap_or(default)
    }

    /// Tokenises one record; `index` is its position in the data. Findings go to the audit. Returns `None` if the
    /// prompt leaves no room for an answer.
    ///
    /// If prompt and longest answer exceed `max_length`, the prompt is truncated to `max_prompt_length`; if they still
    /// do, the answers are truncated to the remaining room, which may remove their EOS. Prompt and room are the same
    /// for all answers, so they stay comparable. A chat's prompt loses whole turns, the oldest ones unless the settings say
    /// otherwise, but neither its system messages nor what is answered; only if these alone are too long, its longest message
    /// is cut. `truncation` is for other texts. Answers of a list or a tree that keep no scored turn are left out of it.
    ///
    /// # Errors
    /// The record is a chat and there is no template, or the template raises an exception; no token of an answer is
    /// scored; the tokeniser fails.
    pub fn example(
        &self,
        index: u64,
        record: &PreferenceRecord,
        truncation: Truncation,
    ) -> Result<(Option<Example>, Observation), DatasetError> {
        let mut seen = Observation::default();
        let mut whole = self.untruncated(record, &mut seen)?;
        if whole.responses.iter().any(is_unscored) {
            return Err(nothing_scored(&record.origin));
        }
        seen.prompt_length = whole.prompt.len();
        seen.response_lengths = whole.responses.iter().map(|response| response.len()).collect();
        seen.n_given = whole.responses.iter().map(|response| response.len() - response.n_scored()).sum();
        let truncation = if whole.strings.is_chat() { self.truncation_or(Truncation::KeepEnd) } else { truncation };
        let shorter = self.without_turns(record, &whole, truncation, &mut seen)?;
        if let Some(shorter) = &shorter {
            whole = self.untruncated(shorter, &mut Observation::default())?;
        }
        let told = shorter.as_ref().unwrap_or(record);
        let kept = self.kept(told, &whole)?;
        let cuts = self.cut(&mut whole.prompt, &mut whole.responses, truncation, &kept, &mut seen);
        self.count_lost(told, &whole.strings, &cuts, &mut seen)?;
        let (responses, comparisons) = self::cut::without_unscored(&record.answers, whole.responses, &mut seen);
        self.look(record, &whole.prompt, &responses, &mut seen);
        let example = Example {
            preference: record.preference,
            weight: record.weight,
            margin: record.margin,
            comparisons,
            ..Example::new(index, whole.prompt.into(), responses, record.answers.kind())
        };
        Ok(((!seen.is_left_out && !seen.is_unscored).then_some(example), seen))
    }

    /// The tokens of a record before truncation.
    fn untruncated(&self, record: &PreferenceRecord, seen: &mut Observation) -> Result<Untruncated, DatasetError> {
        let strings = self.strings(record)?;
        let (mut prompt, mut responses) = self.tokens(&record.origin, &strings, seen)?;
        for response in &mut responses {
            self.end(response, strings.is_chat(), seen);
        }
        let n_start = self.start(&mut prompt, seen);
        Ok(Untruncated { strings, prompt, responses, n_start })
    }

    /// Notes what a record is and what is odd about it.
    fn look(&self, record: &PreferenceRecord, prompt: &[u32], responses: &[Response], seen: &mut Observation) {
        let kind = record.answers.kind();
        seen.is_tied = record.is_tied;
        seen.kind = Some(kind);
        seen.is_identical = kind == ExampleKind::Pair && responses[0] == responses[1];
        let most = self.settings.vocabulary.unwrap_or(usize::MAX);
        let mut tokens = prompt.iter().chain(responses.iter().flat_map(|response| response.iter()));
        seen.has_unknown_tokens = tokens.any(|id| *id as usize >= most);
    }

    /// The tokens of a prompt for generation: a chat up to the assistant's turn, or a plain text with the tokeniser's
    /// prefix. `variables` are additional template variables.
    ///
    /// # Errors
    /// As [`Tokenise::example`].
    pub fn prompt(
        &self,
        origin: &Origin,
        prompt: &Text,
        variables: &Map<String, Value>,
    ) -> Result<Vec<u32>, DatasetError> {
        let mut tokens = match prompt {
            Text::Plain(text) => self.begin(origin, text)?,
            Text::Chat(messages) => {
                let rendered = self.template_for(origin, variables)?.render(messages, true, variables);
                self.encode(origin, &rendered.map_err(|error| in_chat(origin, &error))?)?
            }
        };
        self.start(&mut tokens, &mut Observation::default());
        Ok(tokens)
    }

    /// The tokens of a continuation, without prefix and EOS.
    ///
    /// # Errors
    /// The tokeniser fails.
    pub fn continuation(&self, origin: &Origin, text: &str) -> Result<Vec<u32>, DatasetError> {
        if self.adds_space { self.behind_a_guard(origin, text) } else { self.encode(origin, text) }
    }

    /// The tokens of a prompt with its answer as one text, as in TRL's `RewardTrainer`: a chat as rendered by the
    /// template; otherwise prompt, answer and EOS with the post-processor's additions.
    ///
    /// # Errors
    /// As [`Tokenise::example`].
    pub fn whole(
        &self,
        origin: &Origin,
        prompt: &Text,
        answer: &Text,
        variables: &Map<String, Value>,
    ) -> Result<Vec<u32>, DatasetError> {
        if let (Text::Plain(prompt), Text::Plain(answer)) = (prompt, answer) {
            return self.encode_all(origin, &self.ended_text(prompt, answer));
        }
        let chat = [messages(prompt, "user"), messages(answer, "assistant")].concat();
        let rendered = self.template_for(origin, variables)?.render(&chat, false, variables);
        self.encode(origin, &rendered.map_err(|error| in_chat(origin, &error))?)
    }

    /// The template for a record, depending on its tools.
    fn template_for(&self, origin: &Origin, variables: &Map<String, Value>) -> Result<&ChatTemplate, DatasetError> {
        let has_tools = variables.get("tools").is_some_and(|tools| !tools.is_null());
        let tools = self.tool_template.as_ref().filter(|_| has_tools);
        tools.or(self.template.as_ref()).ok_or_else(|| DatasetError::Template {
            message: format!(
                "{origin}: the record is a chat, and the model has no chat template; `data.chat_template` FILE gives it one"
            ),
        })
    }

    /// The strings of a record; chats are rendered.
    fn strings(&self, record: &PreferenceRecord) -> Result<Strings, DatasetError> {
        let texts = record.answers.texts();
        if let Text::Plain(prompt) = &record.prompt
            && let Some(answers) = texts.iter().map(|text| plain(text)).collect::<Option<Vec<_>>>()
        {
            return Ok(Strings::Plain { prompt: prompt.clone(), answers });
        }
        let template = self.template_for(&record.origin, &record.variables)?;
        let prompt = messages(&record.prompt, "user");
        let answers: Vec<Vec<Message>> = texts.iter().map(|text| messages(text, "assistant")).collect();
        let answers: Vec<&[Message]> = answers.iter().map(Vec::as_slice).collect();
        let in_chat = |error: DatasetError| in_chat(&record.origin, &error);
        let asked = template.render(&prompt, false, &record.variables);
        let mut opened = template.render(&prompt, true, &record.variables).map_err(in_chat)?;
        let whole = |answer: &&[Message]| template.rendered_answer(&prompt, &opened, answer, &record.variables);
        let wholes: Vec<RenderedAnswer> = answers.iter().map(whole).collect::<Result<_, _>>().map_err(in_chat)?;
        // What a template marks as generated is scored in the first turn as in later ones, though it stands in the
        // generation prompt (an empty thought).
        if let Some(first) = wholes.iter().filter_map(RenderedAnswer::first_marked).min()
            && let Some((end, _)) = opened.char_indices().nth(first)
        {
            opened.truncate(end);
        }
        let prompt = opened;
        // Where the prompt can't be written without it, the header is not known, and nothing is kept for it.
        let header = asked.ok().and_then(|asked| prompt.strip_prefix(&asked).map(str::to_owned)).unwrap_or_default();
        Ok(Strings::Chat { prompt, wholes, header })
    }

    fn encode(&self, origin: &Origin, text: &str) -> Result<Vec<u32>, DatasetError> {
        self.encoding(origin, text, false).map(|encoding| encoding.get_ids().to_vec())
    }

    /// Encodes with all additions of the post-processor.
    fn encode_all(&self, origin: &Origin, text: &str) -> Result<Vec<u32>, DatasetError> {
        self.encoding(origin, text, true).map(|encoding| encoding.get_ids().to_vec())
    }

    fn encoding(&self, origin: &Origin, text: &str, is_text: bool) -> Result<tokenizers::Encoding, DatasetError> {
        if text.len() > TEXT_LIMIT {
            return Err(DatasetError::LongText { origin: origin.clone(), limit: TEXT_LIMIT });
        }
        self.tokenizer
            .encode_fast(text, is_text)
            .map_err(|error| DatasetError::Tokenizer { origin: origin.clone(), message: error.to_string() })
    }
}

/// The tokens of a record before truncation.
struct Untruncated {
    strings: Strings,
    prompt: Vec<u32>,
    responses: Vec<Response>,
    /// Number of initial tokens of the prompt that truncation keeps.
    n_start: usize,
}

/// Whether nothing of an answer with turns is scored.
fn is_unscored(response: &Response) -> bool {
    !response.is_plain() && response.n_scored() == 0
}

fn nothing_scored(origin: &Origin) -> DatasetError {
    let message =
        "no token of an answer is scored: its messages are all given (roles, `weight` 0 or `train` false), or the \
                   template's generation blocks leave all of them out"
            .to_owned();
    DatasetError::Chat { origin: origin.clone(), message }
}

fn in_chat(origin: &Origin, error: &DatasetError) -> DatasetError {
    DatasetError::Chat { origin: origin.clone(), message: error.to_string() }
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

#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
