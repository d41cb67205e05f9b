//! Pairs named `chosen` and `rejected`: TRL's preference format and UltraFeedback, with or without a prompt.
use serde_json::Value;

use super::fields::{Fields, not_blank};
use crate::error::DatasetError;
use crate::record::{Answers, Message, PreferenceRecord, Text};

/// `prompt` (may be absent), `chosen`, `rejected`, each a string or messages; `score_chosen`, `score_rejected` if known.
pub(super) fn parse(fields: &Fields<'_>) -> Result<PreferenceRecord, DatasetError> {
    let (chosen, rejected) = (fields.answer("chosen")?, fields.answer("rejected")?);
    let prompt = if fields.has("prompt") { Some(fields.text("prompt")?) } else { None };
    let (prompt, chosen, rejected) = match (prompt, chosen, rejected) {
        (Some(Text::Plain(prompt)), Text::Plain(chosen), Text::Plain(rejected)) => {
            (Text::Plain(prompt), Text::Plain(chosen), Text::Plain(rejected))
        }
        (None, Text::Plain(chosen), Text::Plain(rejected)) => split_strings(&chosen, &rejected),
        (None, chosen, rejected) => split_chats(fields, &into_answer(chosen), &into_answer(rejected))?,
        (Some(prompt), chosen, rejected) => with_prompt(fields, prompt, into_answer(chosen), into_answer(rejected))?,
    };
    let answers = Answers::Pair {
        chosen: not_blank(fields.origin(), "chosen", chosen)?,
        rejected: not_blank(fields.origin(), "rejected", rejected)?,
    };
    Ok(PreferenceRecord { is_tied: is_tied(fields), ..PreferenceRecord::new(fields.origin().clone(), prompt, answers) })
}

/// Whether the scores in the file are equal.
fn is_tied(fields: &Fields<'_>) -> bool {
    let score = |name| fields.optional(name).and_then(Value::as_f64);
    matches!((score("score_chosen"), score("score_rejected")), (Some(first), Some(second)) if first == second)
}

/// The implicit prompt of two strings, as TRL finds it: all they share, less a last space; when one is the start of
/// the other, its last letter stays with the answer.
fn split_strings(chosen: &str, rejected: &str) -> (Text, Text, Text) {
    let mut prompt_end = 0;
    let mut last = 0;
    let mut differ = false;
    for ((at, letter), other) in chosen.char_indices().zip(rejected.chars()) {
        last = at;
        if letter != other {
            differ = true;
            break;
        }
        prompt_end = at + letter.len_utf8();
    }
    if !differ {
        prompt_end = last;
    } else if chosen[..prompt_end].ends_with(' ') {
        prompt_end -= 1;
    }
    let (prompt, chosen) = chosen.split_at(prompt_end);
    (prompt.into(), chosen.into(), rejected[prompt_end..].into())
}

/// The implicit prompt of two chats: the messages they share. Each must go on with the assistant.
fn split_chats(
    fields: &Fields<'_>,
    chosen: &[Message],
    rejected: &[Message],
) -> Result<(Text, Text, Text), DatasetError> {
    let shortest = chosen.len().min(rejected.len());
    let shared = chosen.iter().zip(rejected).take_while(|(first, second)| first == second).count();
    let n_prompt = shared.min(shortest.saturating_sub(1));
    let (prompt, chosen) = chosen.split_at(n_prompt);
    let rejected = &rejected[n_prompt..];
    let begins_user = |messages: &[Message]| messages.first().is_some_and(|message| message.role != "assistant");
    if prompt.is_empty() || begins_user(chosen) || begins_user(rejected) {
        let detail = format!("they part at message {}, before the assistant speaks", n_prompt + 1);
        return Err(DatasetError::PromptMismatch { origin: fields.origin().clone(), detail });
    }
    Ok((Text::Chat(prompt.to_vec()), Text::Chat(chosen.to_vec()), Text::Chat(rejected.to_vec())))
}

/// A prompt is given and at least one part is a chat. The sides may repeat the prompt (`UltraFeedback` does) or not.
fn with_prompt(
    fields: &Fields<'_>,
    prompt: Text,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
) -> Result<(Text, Text, Text), DatasetError> {
    let repeats = |side: &[Message]| side.first().is_some_and(|message| message.role != "assistant");
    let prompt = match prompt {
        Text::Plain(text) => vec![Message::new("user", text)],
        Text::Chat(messages) => messages,
    };
    match (repeats(&chosen), repeats(&rejected)) {
        (false, false) => Ok((Text::Chat(prompt), Text::Chat(chosen), Text::Chat(rejected))),
        (true, true) => split_chats(fields, &chosen, &rejected),
        _ => {
            let detail = "one side repeats the prompt, the other does not".to_owned();
            Err(DatasetError::PromptMismatch { origin: fields.origin().clone(), detail })
        }
    }
}

fn into_answer(text: Text) -> Vec<Message> {
    match text {
        Text::Plain(text) => vec![Message::new("assistant", text)],
        Text::Chat(messages) => messages,
    }
}
