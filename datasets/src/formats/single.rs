//! Records with one answer: labelled completions (KTO) and demonstrations.
use serde_json::Value;

use super::choices::ReadingChoices;
use super::fields::Fields;
use super::join::same_kind;
use super::pairs::last_answer;
use super::prompt_columns::{conversation_name, prompt};
use crate::error::DatasetError;
use crate::record::{Answers, PreferenceRecord, Text};

/// Column names of a single answer.
pub(super) const ANSWERS: [&str; 3] = ["completion", "response", "output"];

/// Column names of a label.
pub(super) const LABELS: [&str; 2] = ["label", "kto_tag"];

/// Whether the fields are those of a record with one answer.
pub(super) fn is_single(fields: &Fields<'_>) -> bool {
    conversation_name(fields).is_some() || ANSWERS.iter().any(|name| fields.has(name))
}

/// Whether the answer is labelled.
pub(super) fn is_labelled(fields: &Fields<'_>) -> bool {
    LABELS.iter().any(|name| fields.has(name))
}

/// `prompt`, `completion`, `label`; or `messages` that end with the assistant, and `label`.
pub(super) fn parse_labelled(fields: &Fields<'_>, choices: ReadingChoices) -> Result<PreferenceRecord, DatasetError> {
    let (prompt, completion) = question_and_answer(fields, choices)?;
    let name = LABELS.into_iter().find(|name| fields.has(name)).unwrap_or(LABELS[0]);
    let label = fields.required(name)?;
    let Some(desirable) = truth(label) else { return Err(fields.wrong(name, "true or false", label)) };
    Ok(record(fields, prompt, Answers::Labelled { completion, desirable }))
}

/// `prompt`, `completion`; or `messages` that end with the assistant.
pub(super) fn parse_demonstration(
    fields: &Fields<'_>,
    choices: ReadingChoices,
) -> Result<PreferenceRecord, DatasetError> {
    let (prompt, answer) = question_and_answer(fields, choices)?;
    if let Some(name) = LABELS.into_iter().find(|name| fields.peek(name).and_then(truth) == Some(false)) {
        return Err(fields.refused(name, "says that the answer is not liked, and a demonstration would be imitated"));
    }
    Ok(record(fields, prompt, Answers::Demonstration(answer)))
}

fn question_and_answer(fields: &Fields<'_>, choices: ReadingChoices) -> Result<(Text, Text), DatasetError> {
    let answer = ANSWERS.into_iter().find(|name| fields.has(name));
    if let Some(name) = answer
        && let Some(prompt) = prompt(fields)?
    {
        return Ok(same_kind(prompt, fields.answer(name)?));
    }
    match conversation_name(fields) {
        Some(name) => {
            let (mut prompt, last) = last_answer(fields, name)?;
            // The last turn, or all from the assistant's first turn on.
            // A greeting at the very start has no context to be scored in: it stays in the prompt.
            let first = prompt.iter().skip(1).position(|message| !message.is_given()).map(|first| first + 1);
            let first = first.filter(|_| choices.assistant_only).unwrap_or(prompt.len());
            let answer = [prompt.split_off(first), vec![last]].concat();
            Ok((Text::Chat(prompt), Text::Chat(answer)))
        }
        None => Ok((fields.text("prompt")?, fields.answer(answer.unwrap_or(ANSWERS[0]))?)),
    }
}

/// Parses a label: JSON booleans, 1 and 0 (1.0 and 0.0 from pandas), or a string.
fn truth(label: &Value) -> Option<bool> {
    match (label, label.as_f64()) {
        (Value::Bool(label), _) => Some(*label),
        (_, Some(1.0)) => Some(true),
        (_, Some(0.0)) => Some(false),
        // Tables of comma-separated values have texts only.
        (Value::String(word), _) => match word.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "1.0" => Some(true),
            "false" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn record(fields: &Fields<'_>, prompt: Text, answers: Answers) -> PreferenceRecord {
    PreferenceRecord::new(fields.origin().clone(), prompt, answers)
}
