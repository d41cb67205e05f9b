use serde::Deserialize;
use std::collections::BTreeMap;

use super::*;
use crate::formats::Format;
use crate::record::{Answers, Text};

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
        let found = template(&golden, &case.template).render(
            &golden.chats[&case.chat],
            case.add_generation_prompt,
            &Map::new(),
        );
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
    let (prompt, wholes) =
        template(&golden, "chatml").prompt_and_wholes(&turns[..3], &[&turns[3..4], &turns[1..2]], &Map::new()).unwrap();
    let answers: Vec<&str> = wholes.iter().map(|whole| whole.strip_prefix(&prompt).unwrap()).collect();
    assert!(prompt.ends_with("<|im_start|>user\n/skip this<|im_end|>\n<|im_start|>assistant\n"));
    assert_eq!(answers[0], "Yes.<|im_end|>\n");
    assert!(answers[1].starts_with("<think>"));
}

#[test]
fn a_template_may_write_the_prompt_differently_once_an_answer_follows() {
    let template = ChatTemplate::new("{{ messages | length }}", &[], Date::default()).unwrap();
    let (question, answer) = ([Message::new("user", "a")], [Message::new("assistant", "b")]);
    let (prompt, wholes) = template.prompt_and_wholes(&question, &[&answer], &Map::new()).unwrap();
    assert_eq!((&*prompt, &*wholes[0]), ("1", "2"));
}

#[test]
fn the_template_sees_what_the_record_says_besides_the_messages() {
    let source = "{{ tools }} {{ documents }} {{ day }}{% for m in messages %} {{ m.role }} {{ m.name }}{% endfor %}";
    let template = ChatTemplate::new(source, &[], Date::default()).unwrap();
    let mut message = Message::new("tool", "3");
    message.fields.insert("name".to_owned(), "clock".into());
    let variables = serde_json::json!({ "tools": [1], "day": "Monday", "messages": "not these" });
    let text = template.render(&[message], false, variables.as_object().unwrap()).unwrap();
    assert_eq!(text, "[1] None Monday tool clock");
}

#[test]
fn a_conversation_that_is_too_long_is_told_so() {
    let template = ChatTemplate::new("{% for m in messages %}{% endfor %}{{ tools }}", &[], Date::default()).unwrap();
    let long = "a".repeat(5_000_000);
    let error = template.render(&[Message::new("user", &*long)], false, &Map::new()).unwrap_err().to_string();
    assert!(error.contains("the conversation is too long") && error.contains("4194304"), "{error}");
    let variables = serde_json::json!({ "tools": long });
    let error = template.render(&[], false, variables.as_object().unwrap()).unwrap_err().to_string();
    assert!(error.contains("\"tools\" is 5000001 bytes"), "{error}");
}

#[test]
fn whole_numbers_keep_their_digits() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("a.jsonl");
    let rendered = |number: &str| {
        let answer = format!(r#"{{"tool_calls": [{{"of": {number}}}], "role": "assistant"}}"#);
        let others = r#""id": 340282366920938463463374607431768211456, "prompt": [{"role": "user", "content": "q"}]"#;
        std::fs::write(&path, format!(r#"{{{others}, "chosen": [{answer}], "rejected": "b"}}"#)).unwrap();
        let (origin, record) = crate::reading::rows(&path).unwrap().next().unwrap().unwrap();
        assert_eq!(record["id"], 340_282_366_920_938_463_463_374_607_431_768_211_456_f64);
        let record = Format::detect(&origin, &record).unwrap().read(&origin, &record).unwrap().records.remove(0);
        let Answers::Pair { chosen: Text::Chat(messages), .. } = record.answers else { panic!("no chat") };
        let template = ChatTemplate::new("{{ messages[0] }}", &[], Date::default()).unwrap();
        template.render(&messages, false, &Map::new()).map_err(|error| error.to_string())
    };
    for number in ["18446744073709551616", "-123456789012345678901234567890", "1e+30", "9007199254740993", "-0.5"] {
        let expected = format!("{{'tool_calls': [{{'of': {number}}}], 'role': 'assistant'}}");
        assert_eq!(rendered(number).unwrap(), expected);
    }
    assert!(rendered(&"9".repeat(40)).unwrap_err().contains("127 bits"));
}

#[test]
fn a_broken_template_names_its_line() {
    let error = ChatTemplate::new("a\n{% for %}", &[], Date::default()).unwrap_err().to_string();
    assert!(error.starts_with("chat template: ") && error.contains("line 2"), "{error}");
    let template = ChatTemplate::new("{{ strftime_now('%Q') }}", &[], Date::default()).unwrap();
    assert!(template.render(&[], false, &Map::new()).unwrap_err().to_string().contains("%Q"));
}

#[test]
fn a_template_cannot_reach_other_templates_or_files() {
    for source in ["{% include 'chat.rs' %}", "{{ messages.__class__.__mro__ }}", "{% import 'x' as y %}"] {
        let rendered = ChatTemplate::new(source, &[], Date::default())
            .and_then(|template| template.render(&[], false, &Map::new()));
        assert!(rendered.is_err(), "{source}");
    }
}

#[test]
fn arguments_are_the_variables_that_the_template_does_not_set() {
    let of = |source: &str| Vec::from_iter(arguments(source).unwrap());
    let loops = "{% for m in messages if m.role != skipped %}{{ m.content | trim }}{{ start }}{% endfor %}";
    assert_eq!(of(loops), ["skipped", "start"]);
    let set =
        "{% if a is not defined %}{% set a = true %}{% endif %}{% set b = 1 %}{{ a }}{{ b }}{{ raise_exception('') }}";
    assert_eq!(of(set), ["a"]);
    assert_eq!(of("{% macro f(x, y=z) %}{{ x }}{{ y }}{% endmacro %}{{ f(none) }}"), ["z"]);
    assert!(arguments("{% if %}").is_err());
}
