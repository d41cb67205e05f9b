use serde::Deserialize;
use std::collections::BTreeMap;

use super::*;

#[derive(Deserialize)]
struct Golden {
    made_by: String,
    day: (u16, u8, u8),
    special_tokens: BTreeMap<String, String>,
    templates: BTreeMap<String, String>,
    chats: BTreeMap<String, Vec<Message>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    chat: String,
    add_generation_prompt: bool,
    text: Option<String>,
    error: Option<String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/golden/datasets/chat.json")).unwrap()
}

fn template(golden: &Golden, name: &str) -> ChatTemplate {
    let tokens: Vec<(&str, &str)> = golden.special_tokens.iter().map(|(name, token)| (&**name, &**token)).collect();
    let (year, month, day) = golden.day;
    ChatTemplate::new(&golden.templates[name], &tokens, Date { year, month, day }).unwrap()
}

#[test]
fn templates_give_what_transformers_gives() {
    let golden = golden();
    assert!(golden.made_by.contains("transformers"));
    for case in &golden.cases {
        let found = template(&golden, &case.template).render(&golden.chats[&case.chat], case.add_generation_prompt);
        let name = format!("{} of {} ({})", case.template, case.chat, case.add_generation_prompt);
        match (&case.text, &case.error) {
            (Some(text), _) => assert_eq!(&found.expect(&name), text, "{name}"),
            (None, error) => {
                let found = found.expect_err(&name).to_string();
                assert!(found.contains(error.as_deref().unwrap()), "{name}: {found}");
            }
        }
    }
}

#[test]
fn an_answer_is_what_the_chat_adds_to_the_prompt() {
    let golden = golden();
    let turns = &golden.chats["turns"];
    let (prompt, answers) =
        template(&golden, "chatml").prompt_and_answers(&turns[..3], &[&turns[3..4], &turns[1..2]]).unwrap();
    assert!(prompt.ends_with("<|im_start|>user\n/skip this<|im_end|>\n<|im_start|>assistant\n"));
    assert_eq!(answers[0], "Yes.<|im_end|>\n");
    assert!(answers[1].starts_with("<think>"));
}

#[test]
fn a_template_that_rewrites_the_prompt_is_an_error() {
    let template = ChatTemplate::new("{{ messages | length }}", &[], Date::default()).unwrap();
    let error = template.prompt_and_answers(&[Message::new("user", "a")], &[&[Message::new("assistant", "b")]]);
    assert!(error.unwrap_err().to_string().contains("cannot be told apart"));
}

#[test]
fn a_broken_template_names_its_line() {
    let error = ChatTemplate::new("a\n{% for %}", &[], Date::default()).unwrap_err().to_string();
    assert!(error.starts_with("chat template: ") && error.contains("line 2"), "{error}");
    let template = ChatTemplate::new("{{ strftime_now('%Q') }}", &[], Date::default()).unwrap();
    assert!(template.render(&[], false).unwrap_err().to_string().contains("%Q"));
}

#[test]
fn a_template_cannot_reach_other_templates_or_files() {
    for source in ["{% include 'chat.rs' %}", "{{ messages.__class__.__mro__ }}", "{% import 'x' as y %}"] {
        let rendered = ChatTemplate::new(source, &[], Date::default()).and_then(|template| template.render(&[], false));
        assert!(rendered.is_err(), "{source}");
    }
}
