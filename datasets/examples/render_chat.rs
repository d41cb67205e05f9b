//! Renders chats: a line of JSON from the standard input each, with `template`, `messages`, `variables` and
//! `add_generation_prompt`; a line with `text` or `error` for each.
//!
//!     cargo run -p datasets --example render_chat < chats.jsonl
use std::io::{BufRead, Write, stdin, stdout};

use datasets::Message;
use datasets::chat::{ChatTemplate, Date};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Chat {
    template: String,
    messages: Vec<Message>,
    variables: Map<String, Value>,
    add_generation_prompt: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let chat: Chat = serde_json::from_str(&line?)?;
        let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let rendered = ChatTemplate::new(&chat.template, &tokens, Date::default())
            .and_then(|template| template.render(&chat.messages, chat.add_generation_prompt, &chat.variables));
        let line = match rendered {
            Ok(text) => json!({ "text": text }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(out, "{line}")?;
    }
    Ok(())
}
