//! Pairs with `chosen` and `rejected`: TRL's preference format and UltraFeedback, with or without a prompt, and the
//! column names of other trainers.
use serde_json::Value;

use super::fields::{Fields, not_blank};
use super::join::{Parts, repeats, split_chats, split_strings, with_prompt};
use super::prompt_columns::{conversation_name, prompt};
use super::winner::{self, JudgedSides, is_judged};
use crate::error::DatasetError;
use crate::record::{Answers, Message, PreferenceRecord, Text};

/// Column names of the better and the worse side.
pub(super) const SIDES: [(&str, &str); 3] =
    [("chosen", "rejected"), ("chosen_response", "rejected_response"), ("response", "rejected_response")];

/// Column names of whole chats, better and worse.
pub(super) const CHATS: (&str, &str) = ("messages", "rejected_messages");

/// Column name of the rejected answer beside a conversation.
const WORSE_END: &str = "rejected_response";

/// Column names of the scores of the better and the worse side.
pub(super) const SCORES: [(&str, &str); 5] = [
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_reward", "rejected_reward"),
];

/// Whether the fields are those of a pair.
pub(super) fn is_pair(fields: &Fields<'_>) -> bool {
    let has = |&(better, worse): &(&str, &str)| fields.has(better) && fields.has(worse);
    SIDES.iter().chain([&CHATS]).any(has)
        || is_judged(fields)
        || fields.has(WORSE_END) && conversation_name(fields).is_some()
}

/// Whether columns are named for the better and the worse side.
pub(super) fn is_named(fields: &Fields<'_>) -> bool {
    SIDES.iter().any(|(better, worse)| fields.has(better) && fields.has(worse))
}

/// `prompt` (may be absent), `chosen`, `rejected`, each a string, messages or one message; scores if known.
pub(super) fn parse(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    if !is_named(fields)
        && let Some(judged) = winner::parse(fields)?
    {
        return of_verdict(fields, judged);
    }
    let (prompt, chosen, rejected) = parts(fields)?;
    let answers = Answers::Pair {
        chosen: not_blank(fields.origin(), "chosen", chosen)?,
        rejected: not_blank(fields.origin(), "rejected", rejected)?,
    };
    Ok(PreferenceRecord { is_tied: is_tied(fields), ..PreferenceRecord::new(fields.origin().clone(), prompt, answers) })
}

/// A pair whose better side a column names; a tie is a preference of one half.
fn of_verdict(fields: &Fields<'_>, judged: JudgedSides) -> Result<PreferenceRecord, DatasetError> {
    let JudgedSides { better, worse, is_tied } = judged;
    let (prompt, chosen, rejected) = named_sides(fields, better, worse)?;
    let record = PreferenceRecord::new(fields.origin().clone(), prompt, Answers::Pair { chosen, rejected });
    Ok(PreferenceRecord { is_tied, preference: if is_tied { 0.5 } else { 1.0 }, ..record })
}

/// The prompt and the sides, under any known column names.
fn parts(fields: &Fields<'_>) -> Result<Parts, DatasetError> {
    let named = SIDES.iter().find(|(better, worse)| fields.has(better) && fields.has(worse));
    if let Some((better, worse)) = named {
        let (chosen, rejected) = (fields.answer(better)?, fields.answer(worse)?);
        return named_sides(fields, chosen, rejected);
    }
    if fields.has(CHATS.0) && fields.has(CHATS.1) {
        let (chosen, rejected) = (fields.answer(CHATS.0)?, fields.answer(CHATS.1)?);
        return split_chats(fields, &into_answer(chosen), &into_answer(rejected));
    }
    if let Some(name) = conversation_name(fields).filter(|_| fields.has(WORSE_END)) {
        let (prompt, chosen) = last_answer(fields, name)?;
        let rejected = fields.answer(WORSE_END)?;
        return with_prompt(fields, Text::Chat(prompt), vec![chosen], into_answer(rejected));
    }
    let (chosen, rejected) = (fields.answer(SIDES[0].0)?, fields.answer(SIDES[0].1)?);
    named_sides(fields, chosen, rejected)
}

fn named_sides(fields: &Fields<'_>, chosen: Text, rejected: Text) -> Result<Parts, DatasetError> {
    let is_answer = |side: &Text| !matches!(side, Text::Chat(messages) if repeats(messages));
    let is_whole = !is_answer(&chosen) && !is_answer(&rejected);
    // Sides that are whole chats say themselves what was asked; another column than `prompt` may only repeat it.
    let asked = if is_whole && !fields.has("prompt") { None } else { prompt(fields)? };
    let asked = match (asked, conversation_name(fields)) {
        (None, Some(name)) if is_answer(&chosen) && is_answer(&rejected) => Some(fields.text(name)?),
        (asked, _) => asked,
    };
    match (asked, chosen, rejected) {
        (Some(Text::Plain(prompt)), Text::Plain(chosen), Text::Plain(rejected)) => {
            Ok((Text::Plain(prompt), Text::Plain(chosen), Text::Plain(rejected)))
        }
        // A prompt that got lost (pandas writes NaN for it) is not one that the sides repeat.
        (None, Text::Plain(_), Text::Plain(_)) if fields.is_null("prompt") => {
            Err(fields.wrong("prompt", "a string or a list of messages", &Value::Null))
        }
        (None, Text::Plain(chosen), Text::Plain(rejected)) => Ok(split_strings(&chosen, &rejected)),
        (None, chosen, rejected) => split_chats(fields, &into_answer(chosen), &into_answer(rejected)),
        (Some(prompt), chosen, rejected) => with_prompt(fields, prompt, into_answer(chosen), into_answer(rejected)),
    }
}

/// Whether the scores in the file are equal. Scores that contradict the sides are recorded as not read, as are those
/// that are not numbers or have no counterpart.
fn is_tied(fields: &Fields<'_>) -> bool {
    let score = |name: &str| fields.peek(name).and_then(number);
    let mut is_tied = false;
    for (better, worse) in SCORES {
        // One side's score alone says nothing, unless the other's is there and can't be used.
        let is_nothing = |name: &str| !fields.has(name) && !fields.is_null(name);
        for (name, other) in [(better, worse), (worse, better)] {
            if score(name).is_some() && (score(other).is_some() || is_nothing(other)) {
                _ = fields.optional(name);
            }
        }
        let (Some(first), Some(second)) = (score(better), score(worse)) else { continue };
        is_tied |= first == second;
        if let Some(seen) = fields.seen().filter(|_| first < second) {
            seen.pass_over(format!("{better} below {worse}"));
        }
    }
    is_tied
}

/// A number, or a number in a string.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

/// Splits a conversation into its history and its last message, which must be the assistant's.
pub(super) fn last_answer(fields: &Fields<'_>, name: &str) -> Result<(Vec<Message>, Message), DatasetError> {
    let wrong = || Ok(fields.wrong(name, "messages that end with the assistant", fields.required(name)?));
    let Text::Chat(mut messages) = fields.text(name)? else { return Err(wrong()?) };
    match messages.pop() {
        Some(last) if last.role == "assistant" && !messages.is_empty() => {
            if last.is_silent() {
                let field = name.to_owned();
                return Err(DatasetError::EmptyAnswer { origin: fields.origin().clone(), field });
            }
            Ok((messages, last))
        }
        _ => Err(wrong()?),
    }
}

fn into_answer(text: Text) -> Vec<Message> {
    match text {
        Text::Plain(text) => vec![Message::new("assistant", text)],
        Text::Chat(messages) => messages,
    }
}
