//! Chat templates.

use datasets::chat::{ChatTemplate, Date, arguments};
use datasets::record::Message;
use serde_json::{Map, Value, json};

use super::told;

/// A template, rendered for several conversations; twice gives the same text.
pub(crate) fn chat(input: &[u8]) -> Result<(), String> {
    let source = std::str::from_utf8(input).map_err(told)?;
    let template = ChatTemplate::new(source, &[("bos_token", "<s>"), ("eos_token", "</s>")], Date::default());
    let template = template.map_err(told)?;
    arguments(source).map_err(told)?;
    let tools = json!([{"type": "function", "function": {"name": "add", "parameters": {"a": 1, "b": [2.5, null]}}}]);
    let variables: Map<String, Value> = [("tools".to_owned(), tools)].into_iter().collect();
    let asked = [Message::new("system", "Be brief."), Message::new("user", "2 + 2?\n")];
    let answer = [
        Message::new("assistant", "<think>so</think> 4"),
        Message::new("user", "sure?"),
        Message::new("assistant", "yes"),
    ];
    let mut outcome = Ok(());
    for (asked, variables) in [(&asked[1..], &Map::new()), (&asked[..], &variables)] {
        let opened = template.render(asked, true, variables);
        assert_eq!(opened.as_ref().map_err(told), template.render(asked, true, variables).as_ref().map_err(told));
        let found = opened.and_then(|opened| {
            let _ = template.rendered_answer(asked, &opened, &answer[..1], variables);
            template.rendered_answer(asked, &opened, &answer, variables)
        });
        outcome = outcome.and(found.map(drop).map_err(told));
    }
    outcome
}
