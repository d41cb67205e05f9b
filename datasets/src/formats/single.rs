//! Records with one answer: labelled completions (KTO) and demonstrations.
use serde_json::Value;

use super::fields::Fields;
use crate::error::DatasetError;
use crate::record::{Answers, Message, PreferenceRecord, Text};

/// `prompt`, `completion`, `label` (true or false; 1 and 0 are taken too).
pub(super) fn parse_labelled(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    let (prompt, completion) = (fields.text("prompt")?, fields.answer("completion")?);
    let label = fields.required("label")?;
    let desirable = match (label, label.as_u64()) {
        (Value::Bool(label), _) => *label,
        (_, Some(label @ 0..=1)) => label == 1,
        _ => return Err(fields.wrong("label", "true or false", label)),
    };
    let (prompt, completion) = same_kind(prompt, completion);
    Ok(record(fields, prompt, Answers::Labelled { completion, desirable }))
}

/// `prompt`, `completion`; or `messages` that end with the assistant.
pub(super) fn parse_demonstration(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    if !fields.has("messages") {
        let (prompt, completion) = same_kind(fields.text("prompt")?, fields.answer("completion")?);
        return Ok(record(fields, prompt, Answers::Demonstration(completion)));
    }
    let wrong = || Ok(fields.wrong("messages", "messages that end with the assistant", fields.required("messages")?));
    let Text::Chat(mut messages) = fields.text("messages")? else { return Err(wrong()?) };
    match messages.pop() {
        Some(last) if last.role == "assistant" && !messages.is_empty() => {
            if last.content.trim().is_empty() {
                let field = "messages".to_owned();
                return Err(DatasetError::EmptyAnswer { origin: fields.origin().clone(), field });
            }
            Ok(record(fields, Text::Chat(messages), Answers::Demonstration(Text::Chat(vec![last]))))
        }
        _ => Err(wrong()?),
    }
}

fn record(fields: &Fields<'_>, prompt: Text, answers: Answers) -> PreferenceRecord {
    PreferenceRecord::new(fields.origin().clone(), prompt, answers)
}

/// A prompt and an answer of which one is a chat become chats both.
pub(super) fn same_kind(prompt: Text, answer: Text) -> (Text, Text) {
    match (prompt, answer) {
        (Text::Plain(prompt), answer @ Text::Chat(_)) => (Text::Chat(vec![Message::new("user", prompt)]), answer),
        (prompt @ Text::Chat(_), Text::Plain(answer)) => (prompt, Text::Chat(vec![Message::new("assistant", answer)])),
        same => same,
    }
}
