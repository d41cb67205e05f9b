//! The border between prompt and answers, where the sides of a pair may repeat the prompt.
use super::fields::Fields;
use crate::error::DatasetError;
use crate::record::{Message, Text};

/// The prompt and the two answers.
pub(super) type Parts = (Text, Text, Text);

/// Converts a prompt and an answer to chats if one of them is.
pub(super) fn same_kind(prompt: Text, answer: Text) -> (Text, Text) {
    match (prompt, answer) {
        (Text::Plain(prompt), answer @ Text::Chat(_)) => (Text::Chat(vec![Message::new("user", prompt)]), answer),
        (prompt @ Text::Chat(_), Text::Plain(answer)) => (prompt, Text::Chat(vec![Message::new("assistant", answer)])),
        same => same,
    }
}

/// The implicit prompt of two strings, as in TRL: their common prefix without a trailing space; if one is a prefix of
/// the other, its last character stays in the answer.
pub(super) fn split_strings(chosen: &str, rejected: &str) -> Parts {
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

/// The implicit prompt of two chats: their common messages. Each side must continue with the assistant.
pub(super) fn split_chats(
    fields: &Fields<'_>,
    chosen: &[Message],
    rejected: &[Message],
) -> Result<Parts, DatasetError> {
    let shortest = chosen.len().min(rejected.len());
    let shared = chosen.iter().zip(rejected).take_while(|(first, second)| first == second).count();
    let n_prompt = shared.min(shortest.saturating_sub(1));
    let (prompt, chosen) = chosen.split_at(n_prompt);
    let rejected = &rejected[n_prompt..];
    check_results(fields, prompt, [chosen, rejected])?;
    if prompt.is_empty() || repeats(chosen) || repeats(rejected) {
        return Err(mismatch(fields, format!("they part at message {}, before the assistant speaks", n_prompt + 1)));
    }
    Ok((Text::Chat(prompt.to_vec()), Text::Chat(chosen.to_vec()), Text::Chat(rejected.to_vec())))
}

/// Joins a given prompt with sides, at least one part being a chat. The sides may repeat the prompt (as in
/// `UltraFeedback`), repeat its end, or begin with the answer.
pub(super) fn with_prompt(
    fields: &Fields<'_>,
    prompt: Text,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
) -> Result<Parts, DatasetError> {
    match (repeats(&chosen), repeats(&rejected)) {
        (false, false) => Ok((Text::Chat(into_question(prompt)), Text::Chat(chosen), Text::Chat(rejected))),
        (true, true) if chosen[0] != rejected[0] && goes_on(&prompt) => {
            let detail = "both go on from `prompt` with a message that is not the assistant's, and these differ; what both \
                          were asked belongs to `prompt`";
            Err(mismatch(fields, detail.to_owned()))
        }
        (true, true) => {
            let (shared, chosen, rejected) = split_chats(fields, &chosen, &rejected)?;
            let Text::Chat(shared) = shared else { return Ok((shared, chosen, rejected)) };
            Ok((Text::Chat(whole_prompt(fields, prompt, shared)?), chosen, rejected))
        }
        (true, false) | (false, true) => {
            if let Text::Chat(prompt) = &prompt {
                check_results(fields, prompt, [&chosen, &rejected])?;
            }
            Err(mismatch(fields, "one side repeats the prompt, the other does not".to_owned()))
        }
    }
}

/// Refuses sides of which one begins with the result of a tool and the other does not.
fn check_results(fields: &Fields<'_>, prompt: &[Message], sides: [&[Message]; 2]) -> Result<(), DatasetError> {
    let begins = sides.map(|side| side.first().is_some_and(Message::is_tool_result));
    let (side, other) = match begins {
        [true, false] => ("chosen", "rejected"),
        [false, true] => ("rejected", "chosen"),
        [true, true] | [false, false] => return Ok(()),
    };
    let is_called = prompt.last().is_some_and(|last| !last.is_given());
    let message = if is_called {
        format!(
            "`{side}` begins with the result of a tool, and `{other}` does not: what both were told belongs to `prompt`, \
                 what one was told follows that side's own call"
        )
    } else {
        format!(
            "`{side}` begins with the result of a tool, and no call of the assistant's (`tool_calls`) stands before it"
        )
    };
    Err(DatasetError::Chat { origin: fields.origin().clone(), message })
}

/// Whether a side begins with the prompt's messages instead of an answer's, which may have any role but the user's.
pub(super) fn repeats(side: &[Message]) -> bool {
    const ASKING: [&str; 5] = ["system", "developer", "user", "tool", "function"];
    side.first().is_some_and(|message| ASKING.contains(&message.role.as_str()))
}

/// The prompt of a record whose sides begin with `shared`, merged without duplicates.
fn whole_prompt(fields: &Fields<'_>, prompt: Text, shared: Vec<Message>) -> Result<Vec<Message>, DatasetError> {
    let messages = match prompt {
        Text::Plain(text) => {
            let text = text.trim();
            // Some files have one turn in `prompt`, others the conversation as one string.
            let has = |message: &Message| text.contains(message.content.words().trim());
            let is_said = shared.iter().any(|message| message.content.words().contains(text));
            if is_said || shared.iter().filter(|message| message.role != "system").all(has) {
                return Ok(shared);
            }
            return Err(mismatch(fields, "and neither repeats `prompt`".to_owned()));
        }
        Text::Chat(messages) => messages,
    };
    if shared.windows(messages.len().max(1)).any(|window| window == messages) || messages.is_empty() {
        return Ok(shared);
    }
    if messages.ends_with(&shared) {
        return Ok(messages);
    }
    if ends_with_answer(&messages) && shared[0].role != "system" {
        return Ok([messages, shared].concat());
    }
    Err(mismatch(fields, "what they repeat is neither `prompt` nor its end".to_owned()))
}

/// Whether messages end before a user's turn, so that sides may go on with it.
fn ends_with_answer(messages: &[Message]) -> bool {
    messages.last().is_some_and(|last| last.role != "user")
}

fn goes_on(prompt: &Text) -> bool {
    matches!(prompt, Text::Chat(messages) if ends_with_answer(messages) && messages.iter().any(|one| one.role == "assistant"))
}

fn into_question(prompt: Text) -> Vec<Message> {
    match prompt {
        Text::Plain(text) => vec![Message::new("user", text)],
        Text::Chat(messages) => messages,
    }
}

fn mismatch(fields: &Fields<'_>, detail: String) -> DatasetError {
    DatasetError::PromptMismatch { origin: fields.origin().clone(), detail }
}
