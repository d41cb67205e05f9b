//! The one parser of chat messages.
//!
//! Messages are passed to templates as in transformers 5: `null` keys are omitted, and reasoning is available under
//! `reasoning_content` and `thinking` whatever its name in the file. ShareGPT's `from` and `value` are read as `role`
//! and `content`, and its speakers are mapped to the usual roles.
use serde_json::{Map, Value};

use super::fields::{Fields, describe, is_empty, not_blank, wrong};
use super::meanings::{COLUMNS, Meaning, NOT_TEXT};
use crate::error::DatasetError;
use crate::reading::python::from_str;
use crate::record::{Content, KeyOrder, Message, Origin, PreferenceRecord, Text};

/// Field names of a message's reasoning; the first present one counts.
const THOUGHTS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// ShareGPT's speakers and their roles.
const SPEAKERS: [(&str, &str); 6] = [
    ("human", "user"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("observation", "tool"),
];

/// Texts and chats in fields.
impl Fields<'_> {
    /// A field that is a string, a list of messages, or one message.
    pub(crate) fn text(&self, name: &str) -> Result<Text, DatasetError> {
        text(self.origin(), &self.full_name(name), self.required(name)?)
    }

    /// A non-empty answer.
    pub(crate) fn answer(&self, name: &str) -> Result<Text, DatasetError> {
        not_blank(self.origin(), &self.full_name(name), self.text(name)?)
    }
}

/// A string, a list of messages, or one message.
pub(crate) fn text(origin: &Origin, field: &str, value: &Value) -> Result<Text, DatasetError> {
    match value {
        Value::String(text) => Ok(Text::Plain(text.clone())),
        Value::Array(messages) => Ok(Text::Chat(list(origin, field, messages)?)),
        Value::Object(columns) if is_columns(columns) => {
            let rows = rows(columns).ok_or_else(|| wrong(origin, field, "columns of one length", value))?;
            Ok(Text::Chat(list(origin, field, &rows)?))
        }
        Value::Object(map) if map.contains_key("role") || map.contains_key("from") => {
            Ok(Text::Chat(vec![message(origin, field, value)?]))
        }
        other => Err(wrong(origin, field, "a string or a list of messages", other)),
    }
}

/// The chat in a string, as `sample` writes the requests of pairs: a list of messages, or an object with them in
/// `prompt`. `None` for other strings.
pub(crate) fn embedded(text: &str) -> Option<Value> {
    let value: Value = from_str(text).ok()?;
    let is_message = |value: &Value| value.as_object().is_some_and(|map| map.contains_key("role"));
    let is_chat = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_message));
    if is_chat(&value) {
        return Some(Value::Object(Map::from_iter([("prompt".to_owned(), value)])));
    }
    value.get("prompt").is_some_and(is_chat).then_some(value)
}

fn list(origin: &Origin, field: &str, messages: &[Value]) -> Result<Vec<Message>, DatasetError> {
    messages.iter().enumerate().map(|(at, value)| message(origin, &format!("{field}[{at}]"), value)).collect()
}

/// Whether an object is a column-wise table (`{"role": [..], "content": [..]}`), as `datasets` stores a sequence of
/// structs.
fn is_columns(map: &Map<String, Value>) -> bool {
    let is_list = |name: &str| map.get(name).is_some_and(Value::is_array);
    is_list("role") || is_list("from")
}

/// The rows of such a table; `None` if its columns differ in length.
fn rows(columns: &Map<String, Value>) -> Option<Vec<Value>> {
    let columns: Vec<(&String, &Vec<Value>)> = columns
        .iter()
        .filter(|(_, column)| !column.is_null())
        .map(|(name, column)| Some((name, column.as_array()?)))
        .collect::<Option<_>>()?;
    let length = columns.first()?.1.len();
    if columns.iter().any(|(_, column)| column.len() != length) {
        return None;
    }
    let row = |at: usize| columns.iter().map(|(name, column)| ((*name).clone(), column[at].clone())).collect();
    Some((0..length).map(|at| Value::Object(row(at))).collect())
}

/// One message: `role` and `content`, or `from` and `value`.
fn message(origin: &Origin, field: &str, value: &Value) -> Result<Message, DatasetError> {
    let path = format!("{field}.");
    let Value::Object(map) = value else {
        return Err(wrong(origin, field, "a message with `role` and `content`", value));
    };
    let fields = Fields::inside(origin, map, &path);
    let is_shared = !fields.has("role") && fields.has("from");
    let (who, what) = if is_shared { ("from", "value") } else { ("role", "content") };
    let role = role(&fields, who)?;
    let order = KeyOrder::of(map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| match &**name {
        name if name == who => "role",
        name if name == what => "content",
        name => name,
    }));
    let others = map.iter().filter(|(name, value)| *name != who && *name != what && !value.is_null());
    let others = with_thought(others.map(|(name, value)| (name.clone(), value.clone())).collect());
    check_training(&fields)?;
    check_media(&fields)?;
    let speaks = Message::SPEAKING.iter().any(|name| others.contains_key(*name));
    if speaks && !fields.has(what) {
        return Ok(Message { role, content: Content::Absent, fields: others, order });
    }
    Ok(Message { role, content: content(&fields, what)?, fields: others, order })
}

/// Checks the fields that say whether a turn is learned from. A number that is not finite is null by now, and no value.
fn check_training(fields: &Fields<'_>) -> Result<(), DatasetError> {
    let is_weight = |weight: &Value| weight.as_f64().is_some_and(|weight| weight >= 0.0 && weight.is_finite());
    if let Some(weight) = fields.peek("weight").filter(|weight| !is_weight(weight)) {
        return Err(fields.wrong("weight", "a number that is not negative", weight));
    }
    match fields.peek("train").filter(|train| !train.is_boolean()) {
        Some(train) => Err(fields.wrong("train", "true or false", train)),
        None => Ok(()),
    }
}

/// Refuses pictures, sounds and films beside a message's content, as those in columns.
fn check_media(fields: &Fields<'_>) -> Result<(), DatasetError> {
    let is_told = |name: &&str| fields.peek(name).is_some_and(|value| !is_empty(value));
    let mut media = COLUMNS.iter().filter(|(_, meaning)| *meaning == Meaning::Media).map(|(name, _)| *name);
    media.find(is_told).map_or(Ok(()), |name| Err(fields.refused(name, NOT_TEXT)))
}

/// Counts as not read what would have turns scored that are given: `train` and `weight` of what users and tools say, and of
/// what stands in the prompt.
pub(super) fn pass_over_training(fields: &Fields<'_>, record: &PreferenceRecord) {
    let Some(seen) = fields.seen() else { return };
    let told = |text: &Text, is_prompt: bool| {
        let Text::Chat(messages) = text else { return };
        for message in messages.iter().filter(|message| is_prompt || message.is_given()) {
            let is_scored = |name: &str, is: fn(&Value) -> bool| message.fields.get(name).is_some_and(is);
            if is_scored("train", |train| train.as_bool() == Some(true)) {
                seen.pass_over("messages.train of given turns".to_owned());
            }
            if is_scored("weight", |weight| weight.as_f64().is_some_and(|weight| weight > 0.0)) {
                seen.pass_over("messages.weight of given turns".to_owned());
            }
        }
    };
    told(&record.prompt, true);
    record.answers.texts().into_iter().for_each(|answer| told(answer, false));
}

/// Refuses results of tools that nobody asked for, under any of the names that templates have for them: a message of such a
/// role (`tool`, `function`, `ipython`, ..), one with a `tool_call_id`, or `tool_responses` in a message. It follows an
/// assistant's, which has `tool_calls` or `function_call` if any message of the conversation has, and one with the result's
/// `tool_call_id`, if it has ids, or of a `function`'s name. (Some models write their calls as text.)
pub(super) fn check_tool_results(origin: &Origin, record: &PreferenceRecord) -> Result<(), DatasetError> {
    let told = |text: &Text| match text {
        Text::Plain(_) => Vec::new(),
        Text::Chat(messages) => messages.clone(),
    };
    let prompt = told(&record.prompt);
    for answer in record.answers.texts() {
        let messages = [&prompt[..], &told(answer)].concat();
        let has_calls = messages.iter().any(|message| !calls(message).is_empty());
        let mut caller: Option<&Message> = None;
        for message in &messages {
            let is_result = message.is_tool_result() || message.is_given() && has_value(message, "tool_call_id");
            if !is_result {
                // A question in between ends what was asked for.
                caller = (!message.is_given()).then_some(message);
            }
            let is_asked = if is_result || has_value(message, "tool_responses") {
                caller.is_some_and(|caller| is_asked(caller, message, has_calls))
            } else {
                true
            };
            if !is_asked {
                let message =
                    "a message of a tool does not follow a call of the assistant's (`tool_calls`) that asks for it";
                return Err(DatasetError::Chat { origin: origin.clone(), message: message.to_owned() });
            }
        }
    }
    Ok(())
}

/// Whether the last message of the assistant calls for a result.
fn is_asked(caller: &Message, result: &Message, has_calls: bool) -> bool {
    let calls = calls(caller);
    let ids: Vec<&Value> = calls.iter().filter_map(|call| call.get("id").filter(|id| !id.is_null())).collect();
    let id = result.fields.get("tool_call_id").filter(|id| !id.is_null() && !ids.is_empty());
    let names: Vec<&Value> =
        calls.iter().filter_map(|call| call.get("name").or_else(|| call.get("function")?.get("name"))).collect();
    let is_function = result.role.eq_ignore_ascii_case("function");
    let name = result.fields.get("name").filter(|name| is_function && name.is_string() && !names.is_empty());
    (!has_calls || !calls.is_empty())
        && id.is_none_or(|id| ids.contains(&id))
        && name.is_none_or(|name| names.contains(&name))
}

/// The calls that a message writes in fields, of today's form and of OpenAI's first one.
fn calls(message: &Message) -> Vec<&Value> {
    let list = message.fields.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    list.chain(message.fields.get("function_call").filter(|call| call.is_object())).collect()
}

fn has_value(message: &Message, field: &str) -> bool {
    message.fields.get(field).is_some_and(|value| !is_empty(value))
}

fn role(fields: &Fields<'_>, name: &str) -> Result<String, DatasetError> {
    let role = fields.string(name)?;
    if name == "role" {
        return Ok(role.to_owned());
    }
    if role == "function_call" {
        let message = "is a call of a tool as a string; write it as a message with `role` and `tool_calls`";
        return Err(fields.refused(name, message));
    }
    Ok(SPEAKERS.iter().find(|(speaker, _)| *speaker == role).map_or(role, |(_, role)| *role).to_owned())
}

/// A string, or a list of text parts.
fn content(fields: &Fields<'_>, name: &str) -> Result<Content, DatasetError> {
    match fields.required(name)? {
        Value::String(content) => Ok(Content::Text(content.clone())),
        Value::Array(parts) => {
            if let Some(part) = parts.iter().find(|part| !is_text(part)) {
                let kind =
                    part.get("type").and_then(Value::as_str).map_or_else(|| describe(part), |kind| format!("`{kind}`"));
                return Err(fields.refused(name, format!("has a part that is {kind}, and the model reads text only")));
            }
            Ok(Content::Parts(parts.clone()))
        }
        other => Err(fields.wrong(name, "a string or a list of text parts", other)),
    }
}

fn is_text(part: &Value) -> bool {
    let kind = part.get("type").filter(|kind| !kind.is_null());
    part.get("text").is_some_and(Value::is_string) && kind.is_none_or(|kind| kind == "text")
}

/// Copies the reasoning to all names that templates read.
fn with_thought(fields: Map<String, Value>) -> Map<String, Value> {
    let Some(thought) = THOUGHTS.iter().find_map(|name| fields.get(*name)).cloned() else { return fields };
    let mut with = Map::new();
    with.insert("thinking".to_owned(), thought.clone());
    with.extend(fields);
    with.insert("reasoning_content".to_owned(), thought);
    with
}
