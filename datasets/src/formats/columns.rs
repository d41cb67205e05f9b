//! Columns outside a format: what they say of a record, by the table of their meanings.
//!
//! A format reads the columns of its parser. Of the others, a column that changes the prompt must repeat the record's
//! content, one that orders the answers or adds media is refused, and the rest are counted and named in the audit:
//! metadata. Weights and margins are read in `weights`.
use serde_json::{Map, Value};

use super::fields::{Fields, is_empty};
use super::meanings::{COLUMNS, Meaning, NOT_TEXT};
use super::ranked::may_order;
use crate::chat::check_argument;
use crate::error::DatasetError;
use crate::reading::python::from_str;
use crate::record::{Answers, PreferenceRecord, Text};

/// The template variables of a record: `tools`, a list or a JSON string, and `chat_template_kwargs`, which comes last
/// and may override `tools`.
pub(crate) fn variables(fields: &Fields<'_>) -> Result<Map<String, Value>, DatasetError> {
    let mut variables = Map::new();
    if let Some(tools) = fields.optional("tools").filter(|tools| !is_empty(tools)) {
        let parsed = match tools {
            Value::String(text) => from_str(text).unwrap_or_else(|_| tools.clone()),
            other => other.clone(),
        };
        let is_list = parsed.as_array().is_some_and(|list| list.iter().all(Value::is_object));
        if !is_list && !parsed.is_null() {
            return Err(fields.wrong("tools", "a list of objects, or one as a JSON string", tools));
        }
        if !parsed.is_null() {
            variables.insert("tools".to_owned(), parsed);
        }
    }
    match fields.optional("chat_template_kwargs") {
        None => {}
        Some(Value::Object(more)) => {
            if let Some(name) = more.keys().find(|name| check_argument(name).is_err()) {
                return Err(
                    fields.refused("chat_template_kwargs", format!("says `{name}`, which is not the data's to say"))
                );
            }
            variables.extend(more.clone());
        }
        Some(other) => return Err(fields.wrong("chat_template_kwargs", "an object", other)),
    }
    Ok(variables)
}

/// Sets a record's template variables, and refuses columns that can't be ignored.
pub(super) fn complete(fields: &Fields<'_>, record: &mut PreferenceRecord) -> Result<(), DatasetError> {
    if matches!(record.prompt, Text::Chat(_)) {
        record.variables = variables(fields)?;
    } else if fields.peek("tools").is_some_and(|tools| !is_empty(tools)) {
        let message = "is for chats, and the record's prompt is plain text: write it as messages, or drop the column";
        return Err(fields.refused("tools", message));
    }
    check_columns(fields, record)
}

/// Refuses columns that contradict the record.
pub(super) fn check_columns(fields: &Fields<'_>, record: &PreferenceRecord) -> Result<(), DatasetError> {
    let mut said: Option<String> = None;
    for &(name, meaning) in COLUMNS {
        let Some(value) = fields.peek(name).filter(|value| !is_empty(value) && !fields.is_read(name)) else { continue };
        match meaning {
            Meaning::Media => {
                return Err(fields.refused(name, NOT_TEXT));
            }
            Meaning::Order if matches!(record.answers, Answers::Ranked(_)) && may_order(fields, name, value) => {
                return Err(fields.refused(name, "may say how the answers are ordered; say it in `ranks` or `scores`"));
            }
            Meaning::Order => {}
            Meaning::Asked => {
                let said = said.get_or_insert_with(|| words_of(record));
                if !words(value).iter().all(|words| said.contains(words.trim())) {
                    let message = "says something that the prompt does not, and would be lost: put it into the prompt, \
                                   or drop the column";
                    return Err(fields.refused(name, message));
                }
            }
        }
    }
    Ok(())
}

/// All texts of a record.
fn words_of(record: &PreferenceRecord) -> String {
    let mut said = String::new();
    for text in [&record.prompt].into_iter().chain(record.answers.texts()) {
        match text {
            Text::Plain(text) => said.push_str(text),
            Text::Chat(messages) => messages.iter().for_each(|message| {
                said.push_str(&message.content.words());
                said.push('\n');
            }),
        }
        said.push('\n');
    }
    said
}

/// The texts in a value: a string, or those of messages, pairs of turns, or parts.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(words).collect(),
        Value::Object(map) => {
            ["content", "value", "text"].iter().filter_map(|name| map.get(*name)).flat_map(words).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
