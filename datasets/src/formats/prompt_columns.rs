//! The prompt of a record under its various column names, with separate columns for system prompt and history.
use serde_json::Value;

use super::fields::{Fields, is_empty};
use super::join::same_kind;
use crate::error::DatasetError;
use crate::record::{Answers, Message, PreferenceRecord, Text};

/// Column names of a question, if there is no `prompt`.
pub(super) const QUESTIONS: [&str; 4] = ["question", "query", "instruction", "input"];

/// Column names of a system prompt.
pub(super) const SYSTEMS: [&str; 2] = ["system", "system_prompt"];

/// Column names of a whole conversation.
pub(super) const CONVERSATIONS: [&str; 2] = ["messages", "conversations"];

/// The prompt: `prompt`, or the question in another column; `None` if there is neither.
///
/// `instruction` and `input` are joined, as in Alpaca files, with the input on a new line.
///
/// # Errors
/// Several columns could be the question and differ.
pub(super) fn prompt(fields: &Fields<'_>) -> Result<Option<Text>, DatasetError> {
    if fields.has("prompt") {
        return fields.text("prompt").map(Some);
    }
    let is_there = |name: &str| fields.peek(name).is_some_and(|value| !is_empty(value));
    let names: Vec<&str> = QUESTIONS.into_iter().filter(|name| is_there(name)).collect();
    if names == ["instruction"] {
        // Alpaca files have an empty input where the instruction is all.
        _ = fields.optional("input");
    }
    match names[..] {
        [] => Ok(None),
        [name] => fields.text(name).map(Some),
        ["instruction", "input"] => {
            let (instruction, input) = (fields.string("instruction")?, fields.string("input")?);
            Ok(Some(Text::Plain(format!("{instruction}\n{input}"))))
        }
        [first, .., second] => {
            let text = fields.text(first)?;
            if names.iter().any(|name| fields.peek(name) != fields.peek(first)) {
                let message = format!("could be the question, and so could `{second}`: name the one that is `prompt`");
                return Err(fields.refused(first, message));
            }
            Ok(Some(text))
        }
    }
}

/// The prompt, which is required.
pub(super) fn required_prompt(fields: &Fields<'_>) -> Result<Text, DatasetError> {
    match prompt(fields)? {
        Some(prompt) => Ok(prompt),
        None => fields.text("prompt"),
    }
}

/// The column of a whole conversation.
pub(super) fn conversation_name(fields: &Fields<'_>) -> Option<&'static str> {
    CONVERSATIONS.into_iter().find(|name| fields.peek(name).is_some_and(|value| !value.is_string()))
}

/// Prepends the system prompt and the history of separate columns to the prompt, which makes the record a chat. Empty
/// columns are ignored, since tables have them in every row.
pub(super) fn join_context(fields: &Fields<'_>, record: &mut PreferenceRecord) -> Result<(), DatasetError> {
    let system = system(fields)?;
    let history = history(fields);
    if system.is_none() && history.is_none() {
        return Ok(());
    }
    become_chat(record);
    let Text::Chat(messages) = &mut record.prompt else { return Ok(()) };
    let n_before = messages.iter().take_while(|message| is_system(message)).count();
    // A prompt of several turns has its history in it; whether it has all of it is checked with the other columns.
    if history.is_some() && messages.len() <= n_before + 1 {
        drop(messages.splice(n_before..n_before, turns(fields)?));
    }
    let Some((name, system)) = system else { return Ok(()) };
    match messages.first().filter(|first| is_system(first)) {
        None => messages.insert(0, Message::new("system", system)),
        Some(first) if first.content.words().trim() == system.trim() => {}
        Some(_) => return Err(fields.refused(name, "is not the system prompt that the prompt begins with")),
    }
    Ok(())
}

fn is_system(message: &Message) -> bool {
    matches!(&*message.role, "system" | "developer")
}

/// The system prompt in a separate column, and the column's name.
fn system<'a>(fields: &Fields<'a>) -> Result<Option<(&'static str, &'a str)>, DatasetError> {
    let mut found = None;
    for name in SYSTEMS.into_iter().filter(|name| fields.has(name)) {
        let system = fields.string(name)?;
        if system.trim().is_empty() {
            continue;
        }
        if let Some((other, text)) = found
            && text != system
        {
            return Err(fields.refused(name, format!("and `{other}` are two system prompts: leave one")));
        }
        found = Some((name, system));
    }
    Ok(found)
}

/// The history in a separate column.
fn history<'a>(fields: &Fields<'a>) -> Option<&'a Vec<Value>> {
    let history = fields.peek("history")?.as_array()?;
    if history.is_empty() {
        _ = fields.optional("history");
    }
    Some(history).filter(|history| !history.is_empty())
}

/// The history: messages, or pairs of a user and an assistant turn.
fn turns(fields: &Fields<'_>) -> Result<Vec<Message>, DatasetError> {
    let history = fields.array("history")?;
    let said = |value: &Value| value.as_str().map(str::to_owned);
    let pair = |turn: &Value| match turn.as_array().map(Vec::as_slice) {
        Some([user, assistant]) => {
            Some([Message::new("user", said(user)?), Message::new("assistant", said(assistant)?)])
        }
        _ => None,
    };
    if history.iter().all(Value::is_array) {
        let pairs: Option<Vec<_>> = history.iter().map(pair).collect();
        let expected = "a list of messages, or of pairs of a question and its answer";
        return pairs
            .map(|pairs| pairs.into_iter().flatten().collect())
            .ok_or_else(|| fields.wrong("history", expected, &Value::from(history.clone())));
    }
    match fields.text("history")? {
        Text::Chat(messages) => Ok(messages),
        Text::Plain(_) => Ok(Vec::new()),
    }
}

/// Converts a plain record to a chat: the prompt is a user turn, the answers are assistant turns.
fn become_chat(record: &mut PreferenceRecord) {
    let Text::Plain(prompt) = &record.prompt else { return };
    let prompt = Text::Chat(vec![Message::new("user", prompt)]);
    let turn = |answer: &mut Text| {
        let taken = std::mem::replace(answer, Text::Plain(String::new()));
        *answer = same_kind(prompt.clone(), taken).1;
    };
    match &mut record.answers {
        Answers::Pair { chosen, rejected } => [chosen, rejected].into_iter().for_each(turn),
        Answers::Ranked(answers) | Answers::Forest { answers, .. } => answers.iter_mut().for_each(turn),
        Answers::Labelled { completion: answer, .. } | Answers::Demonstration(answer) => turn(answer),
    }
    record.prompt = prompt;
}
