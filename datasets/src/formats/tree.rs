//! Conversation trees with ranked sibling replies, as in OpenAssistant.
use serde_json::Value;

use super::fields::{Fields, not_blank, wrong};
use crate::error::DatasetError;
use crate::record::{Answers, Message, Origin, PreferenceRecord, Text};

/// One ranked list for every message with two or more ranked assistant replies; its prompt is the conversation up to
/// that message. Deleted and unranked replies are omitted; equal ranks are an error.
pub(super) fn parse(fields: &Fields<'_>, record: &Value) -> Result<Vec<PreferenceRecord>, DatasetError> {
    let origin = fields.origin();
    let root = fields.optional("prompt").unwrap_or(record);
    for name in NODE {
        _ = fields.optional(name);
    }
    pass_over(fields, root, "prompt");
    let mut found = Vec::new();
    walk(origin, root, &mut Vec::new(), &mut found)?;
    Ok(found)
}

/// The fields of a message that are read.
const NODE: [&str; 5] = ["text", "role", "replies", "rank", "deleted"];

/// Records the fields of a message and its replies that are not read.
fn pass_over(fields: &Fields<'_>, node: &Value, name: &str) {
    let (Some(seen), Some(map)) = (fields.seen(), node.as_object()) else { return };
    let is_inside = fields.has("prompt") || name != "prompt";
    for (key, _) in map.iter().filter(|(key, value)| is_inside && !value.is_null() && !NODE.contains(&key.as_str())) {
        seen.pass_over(format!("{name}.{key}"));
    }
    let replies = map.get("replies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for reply in replies {
        pass_over(fields, reply, "replies[]");
    }
}

/// Adds the lists of `node` and its descendants, parents first.
fn walk(
    origin: &Origin,
    node: &Value,
    conversation: &mut Vec<Message>,
    found: &mut Vec<PreferenceRecord>,
) -> Result<(), DatasetError> {
    let text = string(origin, node, "text")?;
    conversation.push(Message::new(role(string(origin, node, "role")?), text));
    let replies = match node.get("replies") {
        Some(Value::Array(replies)) => &replies[..],
        Some(Value::Null) | None => &[],
        Some(other) => return Err(wrong(origin, "replies", "a list", other)),
    };
    let answers = ranked(origin, replies)?;
    if answers.len() >= 2 {
        let prompt = Text::Chat(conversation.clone());
        found.push(PreferenceRecord::new(origin.clone(), prompt, Answers::Ranked(answers)));
    }
    for reply in replies {
        walk(origin, reply, conversation, found)?;
    }
    conversation.pop();
    Ok(())
}

/// The ranked replies of the assistant, best first.
fn ranked(origin: &Origin, replies: &[Value]) -> Result<Vec<Text>, DatasetError> {
    let mut answers = Vec::new();
    for reply in replies {
        let is_deleted = reply.get("deleted").and_then(Value::as_bool).unwrap_or(false);
        let rank = match reply.get("rank") {
            None | Some(Value::Null) => continue,
            Some(rank) => rank.as_f64().ok_or_else(|| wrong(origin, "rank", "a number", rank))?,
        };
        if !is_deleted && role(string(origin, reply, "role")?) == "assistant" {
            let text = Text::Chat(vec![Message::new("assistant", string(origin, reply, "text")?)]);
            answers.push((rank, not_blank(origin, "text", text)?));
        }
    }
    answers.sort_by(|first, second| first.0.total_cmp(&second.0));
    if let Some(pair) = answers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(wrong(origin, "rank", "different from its siblings' ranks", &Value::from(pair[0].0)));
    }
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

fn role(name: &str) -> &str {
    if name == "prompter" { "user" } else { name }
}

fn string<'a>(origin: &Origin, node: &'a Value, name: &str) -> Result<&'a str, DatasetError> {
    let Some(value) = node.get(name) else {
        let found = node.as_object().map_or_else(String::new, |map| map.keys().cloned().collect::<Vec<_>>().join(", "));
        return Err(DatasetError::MissingField { origin: origin.clone(), field: name.to_owned(), found });
    };
    value.as_str().ok_or_else(|| wrong(origin, name, "a string", value))
}
