//! Prompts and answers as chats.
use datasets::{Message, Prompt, Text};
use models::formats::ModelTokenizer;

use crate::Failure;
use crate::settings::Values;
use crate::text::refuse_idle_template;

/// Makes chats of plain prompts if that is asked for, and puts the system prompt before those that have none.
///
/// # Errors
/// A system prompt for plain prompts; chats for a model without a chat template.
pub(super) fn prepare(
    prompts: &mut [Prompt],
    values: &Values,
    tokenizer: &ModelTokenizer,
    source: &str,
) -> Result<(), Failure> {
    let (is_chat, system) = (values.sample.chat(), values.sample.system());
    for (i, prompt) in prompts.iter_mut().enumerate() {
        if let Text::Plain(text) = &prompt.text {
            if is_chat {
                prompt.text = Text::Chat(vec![Message::new("user", text)]);
            } else if system.is_some() {
                let text = format!(
                    "`sample.system` is for chats, and prompt {} of {source} is plain text: give `sample.chat`",
                    i + 1
                );
                return Err(Failure::usage(text));
            }
        }
        if let (Some(system), Text::Chat(messages)) = (system, &mut prompt.text)
            && messages.first().is_none_or(|first| !matches!(&*first.role, "system" | "developer"))
        {
            messages.insert(0, Message::new("system", system));
        }
    }
    let has_chats = prompts.iter().any(|prompt| matches!(prompt.text, Text::Chat(_)));
    refuse_idle_template(values, has_chats)?;
    if has_chats && tokenizer.chat_templates.is_empty() {
        let path = tokenizer.path.display();
        return Err(Failure::failed(format!(
            "{path}: there is no chat template for chats; `data.chat_template` FILE gives one"
        )));
    }
    Ok(())
}

/// A chat with the answer as its last message; `None` of a plain prompt.
pub(crate) fn with_answer(prompt: &Prompt, answer: &str) -> Option<Vec<Message>> {
    match &prompt.text {
        Text::Plain(_) => None,
        Text::Chat(messages) => Some([&messages[..], &[Message::new("assistant", answer)]].concat()),
    }
}

/// Reports that a model for chats is asked in plain text, which it may only continue.
pub(super) fn hint(prompts: &[Prompt], tokenizer: &ModelTokenizer) -> Option<&'static str> {
    let is_plain = prompts.iter().all(|prompt| matches!(prompt.text, Text::Plain(_)));
    (is_plain && !tokenizer.chat_templates.is_empty()).then_some(
        "the model has a chat template, and these prompts are plain text, which it continues; `sample.chat` asks it as a user",
    )
}
