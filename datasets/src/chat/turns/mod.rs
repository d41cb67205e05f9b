//! The turns of an answer in the rendered text: what the policy writes, and what is given.
//!
//! A template with `{% generation %}` blocks says it itself, as in transformers. Otherwise the conversation is rendered
//! message by message: a turn begins where the text leaves the generation prompt and ends where the next message begins,
//! with all that the template writes behind its end token. This is what TRL scores of a completion, and the same holds for
//! every turn, first, last and in between. Some templates write a message differently once others follow (they drop its
//! thoughts); then it is found by what changes in the whole text when its content is replaced.
use std::ops::Range;

use serde_json::{Map, Value};

use super::ChatTemplate;
use super::jinja::Rendered;
use crate::error::DatasetError;
use crate::record::{Content, Message};

/// A part of a rendered conversation that the policy writes.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenTurn {
    /// The characters.
    pub span: Range<usize>,
    /// The weight of its log-probabilities.
    pub weight: f64,
    /// Whether a generation block of the template marks it; else it is found by the messages' roles.
    pub is_marked: bool,
}

/// A conversation with an answer, as text.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderedAnswer {
    /// Prompt and answer.
    pub text: String,
    /// The scored turns of the answer; `None` if all that follows the opened prompt is one turn of weight 1.
    pub turns: Option<Vec<WrittenTurn>>,
}

impl RenderedAnswer {
    /// The first character that a generation block of the answer marks.
    pub(crate) fn first_marked(&self) -> Option<usize> {
        let marked = self.turns.iter().flatten().filter(|turn| turn.is_marked);
        marked.map(|turn| turn.span.start).min()
    }
}

/// Characters that no text has, in place of a message's content; of a length that few contents have.
const MARK: &str = "\u{f8ff}\u{f8fe}\u{f8ff}\u{f8fe}\u{f8ff}";

impl ChatTemplate {
    /// Whether the template has `{% generation %}` blocks, found as transformers finds them.
    pub fn has_generation_blocks(&self) -> bool {
        self.source.match_indices("{%").any(|(at, tag)| {
            let inside = &self.source[at + tag.len()..];
            let inside = inside.strip_prefix('-').unwrap_or(inside).trim_start();
            let end = inside.strip_prefix("generation").map(str::trim_start);
            end.is_some_and(|end| end.starts_with("%}") || end.starts_with("-%}"))
        })
    }

    /// Renders the prompt with an answer, and finds the scored turns of the answer: the policy's, but for messages with
    /// `weight` 0 or `train` false. `opened` is the rendered prompt with its generation prompt.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; a message's `weight` or `train` is no such value; the turns can't be found.
    pub fn rendered_answer(
        &self,
        prompt: &[Message],
        opened: &str,
        answer: &[Message],
        variables: &Map<String, Value>,
    ) -> Result<RenderedAnswer, DatasetError> {
        let rendered = self.marked(&[prompt, answer].concat(), false, variables)?;
        let weights: Vec<f64> = answer.iter().map(score_weight).collect::<Result<_, _>>()?;
        let is_even = answer.iter().zip(&weights).all(|(message, weight)| *weight == 1.0 || message.is_given());
        let whole = Conversation { template: self, prompt, opened, answer, variables, text: &rendered.text };
        let turns = match (self.has_generation_blocks(), is_even, &weights[..]) {
            (true, true, _) => {
                let spans = whole.of_answer(rendered.generated.clone());
                Some(spans.into_iter().map(|span| WrittenTurn { span, weight: 1.0, is_marked: true }).collect())
            }
            (true, false, weights) => Some(whole.weighed(whole.of_answer(rendered.generated.clone()), weights)?),
            (false, _, [1.0]) if rendered.text.starts_with(opened) => None,
            (false, _, weights) => Some(whole.by_role(weights)?),
        };
        Ok(RenderedAnswer { text: rendered.text, turns })
    }

    /// Where each message of an answer ends in the text that the template writes of it, in characters; `None` if that
    /// can't be told.
    pub(crate) fn message_ends(
        &self,
        prompt: &[Message],
        answer: &[Message],
        variables: &Map<String, Value>,
        text: &str,
    ) -> Option<Vec<usize>> {
        let whole = Conversation { template: self, prompt, opened: "", answer, variables, text };
        let inner = (0..answer.len().saturating_sub(1)).map(|at| whole.border(at).ok());
        let ends = inner.chain([Some(text.len())]).map(|end| end.map(|end| whole.characters(0..end).end));
        ends.collect()
    }
}

/// A rendered conversation and its parts.
struct Conversation<'c> {
    template: &'c ChatTemplate,
    prompt: &'c [Message],
    /// The prompt with its generation prompt.
    opened: &'c str,
    answer: &'c [Message],
    variables: &'c Map<String, Value>,
    text: &'c str,
}

impl Conversation<'_> {
    /// The turns of the messages with a weight.
    fn by_role(&self, weights: &[f64]) -> Result<Vec<WrittenTurn>, DatasetError> {
        let mut turns = Vec::new();
        let given = self.given_starts();
        for (at, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            let start = if at == 0 { self.first_start() } else { self.start(at)? };
            let end = if at + 1 == weights.len() { self.text.len() } else { self.border(at)? };
            let turn = start..end.max(start);
            // Some templates write a result before the words of the message that called.
            if let Some((other, _)) = given.iter().find(|(_, start)| turn.contains(start)) {
                return Err(Self::untold(*other));
            }
            turns.push(WrittenTurn { span: self.characters(turn), weight, is_marked: false });
        }
        Ok(turns)
    }

    /// Where the given messages of the answer begin, in bytes, by their numbers; those that the template does not write have no
    /// place.
    fn given_starts(&self) -> Vec<(usize, usize)> {
        let given = self.answer.iter().enumerate();
        let given = given.filter(|(_, message)| message.is_given() && !message.content.words().trim().is_empty());
        let start = |(at, _): (usize, &Message)| {
            let changed = self.changed(at).filter(|changed| changed != self.text)?;
            Some((at, common_start(&changed, self.text)))
        };
        given.filter_map(start).collect()
    }

    /// The error where message `at` of the answer can't be told from the others.
    fn untold(at: usize) -> DatasetError {
        DatasetError::Template {
            message: format!(
                "it can't be told which part of the text is message {} of the answer, as the template writes it \
                 differently once others follow; a template with generation blocks can tell",
                at + 1
            ),
        }
    }

    /// Of the template's own blocks those of the answer, in order.
    fn of_answer(&self, mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
        spans.sort_by_key(|span| span.start);
        // A prompt that can't be written without its generation prompt shares with the text what it shares with it.
        let asked = self.template.marked(self.prompt, false, self.variables).ok();
        let before = asked.as_ref().map_or(self.opened, |asked| asked.text.as_str());
        let n_shared = self.characters(0..common_start(before, self.text)).end;
        // A template that writes the prompt differently once an answer follows has as many blocks in it all the same.
        let is_other = |asked: &Rendered| !self.text.starts_with(&asked.text) && spans.len() > asked.generated.len();
        match asked.as_ref().filter(|asked| is_other(asked)).map(|asked| asked.generated.len()) {
            Some(n_before) => spans.split_off(n_before),
            // A block may begin in what a prompt ends with (the end of a tool's results).
            None => spans.into_iter().filter(|span| span.end > n_shared).collect(),
        }
    }

    /// The template's own blocks with the weights of the messages that they are in.
    fn weighed(&self, spans: Vec<Range<usize>>, weights: &[f64]) -> Result<Vec<WrittenTurn>, DatasetError> {
        let mut borders = Vec::new();
        for at in 0..weights.len().saturating_sub(1) {
            borders.push(self.characters(0..self.border(at)?).end);
        }
        let weighed = spans.into_iter().map(|span| {
            let message = borders.iter().take_while(|border| **border <= span.start).count();
            WrittenTurn { weight: weights[message.min(weights.len() - 1)], span, is_marked: true }
        });
        Ok(weighed.filter(|turn| turn.weight > 0.0).collect())
    }

    /// Where the policy begins to write the first message of the answer, in bytes: where the text leaves the opened prompt.
    /// A template that writes the prompt itself differently once an answer follows leaves it before; then the message is
    /// found by its content.
    fn first_start(&self) -> usize {
        let shared = common_start(self.opened, self.text);
        let Ok(asked) = self.template.render(self.prompt, false, self.variables) else { return shared };
        let n_asked = common_start(self.opened, &asked);
        if shared >= n_asked {
            return shared;
        }
        let header = &self.opened[n_asked..];
        let found = self.changed(0).and_then(|changed| {
            let before = &changed[..changed.find(MARK)?];
            let before = self.text.starts_with(before).then_some(before)?;
            let ways = [header, header.lines().next().unwrap_or_default()];
            ways.iter().find_map(|way| before.rfind(way).filter(|_| !way.is_empty()).map(|start| start + way.len()))
        });
        found.unwrap_or(shared)
    }

    /// The whole text with other content in message `at` of the answer.
    fn changed(&self, at: usize) -> Option<String> {
        let changed = [self.prompt, &self.answer[..at], &[self.with_mark(at)], &self.answer[at + 1..]].concat();
        self.template.render(&changed, false, self.variables).ok()
    }

    /// Message `at` of the answer with other content, and nothing besides.
    fn with_mark(&self, at: usize) -> Message {
        let mut marked = self.answer[at].clone();
        marked.content = Content::Text(MARK.to_owned());
        marked.fields.retain(|name, _| !Message::SPEAKING.contains(&name.as_str()));
        marked
    }

    /// Where the policy begins to write message `at` of the answer, in bytes: behind the generation prompt.
    fn start(&self, at: usize) -> Result<usize, DatasetError> {
        let border = self.border(at - 1)?;
        let before = self.up_to(at);
        let [with, without] = [true, false].map(|header| self.template.render(&before, header, self.variables));
        let (with, without) = (with?, without?);
        let header = &with[common_start(&with, &without)..];
        Ok(border + common_start(header, &self.text[border..]))
    }

    /// Where message `at` of the answer ends and the next one begins, in bytes.
    fn border(&self, at: usize) -> Result<usize, DatasetError> {
        let until = self.template.render(&self.up_to(at + 1), false, self.variables);
        if let Some(until) = until.ok().filter(|until| self.text.starts_with(until)) {
            return Ok(until.len());
        }
        self.border_by_mark(at).ok_or_else(|| Self::untold(at))
    }

    /// The same for a message whose text changes when others follow it.
    fn border_by_mark(&self, at: usize) -> Option<usize> {
        let changed = self.changed(at)?;
        if changed == self.text {
            // The template does not write this message.
            return if at == 0 { self.prompt_end() } else { self.border(at - 1).ok() };
        }
        let alone = [&self.up_to(at)[..], &[self.with_mark(at)]].concat();
        let alone = self.template.render(&alone, false, self.variables).ok()?;
        let behind = &changed[changed.rfind(MARK)? + MARK.len()..];
        let end = self.text.strip_suffix(behind)?.len();
        let closing = &alone[alone.rfind(MARK)? + MARK.len()..];
        Some(end + common_start(closing, behind))
    }

    /// Where the prompt ends, in bytes.
    fn prompt_end(&self) -> Option<usize> {
        let prompt = self.template.render(self.prompt, false, self.variables).ok()?;
        Some(common_start(&prompt, self.text))
    }

    /// The prompt and the first `n` messages of the answer.
    fn up_to(&self, n: usize) -> Vec<Message> {
        [self.prompt, &self.answer[..n]].concat()
    }

    fn characters(&self, bytes: Range<usize>) -> Range<usize> {
        let start = self.text[..bytes.start].chars().count();
        start..start + self.text[bytes].chars().count()
    }
}

/// The weight of a message's log-probabilities in an answer: 0 if it is given or not to be learned from (`train`), else
/// its `weight`, 1 if there is none.
fn score_weight(message: &Message) -> Result<f64, DatasetError> {
    let wrong = |name: &str, takes: &str, found: &Value| DatasetError::Template {
        message: format!("`{name}` of a message takes {takes}, not {found}"),
    };
    let field = |name: &str| message.fields.get(name).filter(|value| !value.is_null());
    let is_trained = match field("train") {
        None => true,
        Some(Value::Bool(is_trained)) => *is_trained,
        Some(other) => return Err(wrong("train", "true or false", other)),
    };
    let weight = match field("weight") {
        None => 1.0,
        Some(value) => value
            .as_f64()
            .filter(|weight| weight.is_finite() && *weight >= 0.0)
            .ok_or_else(|| wrong("weight", "a number that is not negative", value))?,
    };
    Ok(if is_trained && !message.is_given() { weight } else { 0.0 })
}

/// The length of the common beginning of two texts, in bytes.
fn common_start(first: &str, second: &str) -> usize {
    let same = first.chars().zip(second.chars()).take_while(|(a, b)| a == b);
    same.map(|(letter, _)| letter.len_utf8()).sum()
}

#[cfg(test)]
mod tests;
