//! Columns and fields of messages beside those that a format is named after: used, repeated, refused or counted.
use serde_json::{Value, json};

use super::meanings::{COLUMNS, Meaning};
use super::*;
use crate::record::{Content, Message, Text};

pub(super) fn origin() -> Origin {
    Origin::line(&std::path::Path::new("data.jsonl").into(), 3)
}

pub(super) fn read(record: &Value) -> Result<Read, DatasetError> {
    Format::detect(&origin(), record)?.read(&origin(), record)
}

pub(super) fn one(record: &Value) -> PreferenceRecord {
    read(record).unwrap_or_else(|error| panic!("{record}: {error}")).records.remove(0)
}

pub(super) fn error(record: &Value) -> String {
    read(record).expect_err(&record.to_string()).to_string()
}

fn say(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn chat(turns: &[(&str, &str)]) -> Text {
    Text::Chat(turns.iter().map(|(role, content)| Message::new(*role, *content)).collect())
}

fn assistant(text: &str) -> Text {
    chat(&[("assistant", text)])
}

pub(super) fn with(record: &Value, more: &[(&str, Value)]) -> Value {
    let mut record = record.clone();
    for (name, value) in more {
        record[*name] = value.clone();
    }
    record
}

/// A record of each format.
fn samples() -> Vec<(Format, Value)> {
    let side = |answer: &str| json!([say("user", "q"), say("assistant", answer)]);
    let node = |role: &str, text: &str, rank: Value, replies: Value| json!({"role": role, "text": text, "rank": rank, "replies": replies});
    let replies = json!([node("assistant", "a", json!(0), json!([])), node("assistant", "b", json!(1), json!([]))]);
    let hh = |answer: &str| format!("\n\nHuman: q\n\nAssistant: {answer}");
    vec![
        (Format::Trl, json!({"prompt": "q", "chosen": "a", "rejected": "b"})),
        (
            Format::Ultrafeedback,
            json!({"prompt": "q", "chosen": side("a"), "rejected": side("b"), "score_chosen": 2.0}),
        ),
        (
            Format::Tldr,
            json!({"info": {"post": "p", "title": "t", "subreddit": "s"}, "choice": 0,
            "summaries": [{"text": "a"}, {"text": "b"}]}),
        ),
        (Format::Hh, json!({"chosen": hh("a"), "rejected": hh("b")})),
        (Format::Kto, json!({"prompt": "q", "completion": "a", "label": true})),
        (Format::Ranked, json!({"prompt": "q", "responses": ["a", "b"]})),
        (Format::Tree, json!({"prompt": node("prompter", "q", Value::Null, replies)})),
        (Format::Demonstration, json!({"messages": side("a")})),
    ]
}

/// Every format with every name of the table: the prompt or the order has it, or the column is refused by name.
#[test]
fn no_format_reads_past_what_changes_the_record() {
    for (format, sample) in samples() {
        for &(name, meaning) in COLUMNS.iter().filter(|(name, _)| sample.get(name).is_none()) {
            let value = match meaning {
                Meaning::Order => json!([3, 2]),
                Meaning::Asked if matches!(name, "messages" | "conversations" | "history") => {
                    json!([say("user", "words of its own"), say("assistant", "more")])
                }
                Meaning::Asked | Meaning::Media => json!("words of its own"),
            };
            let record = with(&sample, &[(name, value)]);
            let Ok(found) = format.read(&origin(), &record) else {
                assert!(
                    format.read(&origin(), &record).unwrap_err().to_string().contains(&format!("`{name}`")),
                    "{name}"
                );
                continue;
            };
            let said = format!("{:?}", found.records);
            match meaning {
                Meaning::Media => panic!("{format} reads past {name}"),
                Meaning::Asked => assert!(said.contains("words of its own"), "{format} loses {name}: {said}"),
                Meaning::Order if format == Format::Ranked => {
                    assert!(!found.not_read.contains(name), "{format}: {name}");
                }
                Meaning::Order => {
                    let is_used = matches!(
                        (format, name),
                        (Format::Tldr, "choice") | (Format::Kto, "label") | (Format::Tree, "rank")
                    );
                    assert!(is_used || found.not_read.contains(name), "{format}: {name}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_read_is_named() {
    for (format, sample) in samples() {
        assert_eq!(format.read(&origin(), &sample).unwrap().not_read, BTreeSet::new(), "{format}");
        let record = with(&sample, &[("weight", json!("much")), ("id", json!("x")), ("nothing", Value::Null)]);
        let names: Vec<String> = format.read(&origin(), &record).unwrap().not_read.into_iter().collect();
        assert_eq!(names, ["id", "weight"], "{format}");
    }
    let (_, mut tldr) = samples().remove(2);
    tldr["info"]["id"] = json!("t3");
    tldr["summaries"][1]["policy"] = json!("p");
    assert_eq!(read(&tldr).unwrap().not_read, ["info.id", "summaries[].policy"].map(String::from).into());
    let (_, mut tree) = samples().remove(6);
    tree["prompt"]["lang"] = json!("en");
    tree["prompt"]["replies"][0]["emojis"] = json!({});
    assert_eq!(read(&tree).unwrap().not_read, ["prompt.lang", "replies[].emojis"].map(String::from).into());
}

#[test]
fn weights_of_what_is_given_are_not_read_and_media_of_messages_are_refused() {
    let message = |role: &str, field: &str, value: Value| json!({"role": role, "content": role, field: value});
    let pair = |asked: Value, told: Value| json!({"prompt": [asked], "chosen": [say("assistant", "a"), told, say("assistant", "b")], "rejected": "c"});
    let names = |record: &Value| read(record).unwrap().not_read.into_iter().collect::<Vec<_>>();
    let user = |field: &str, value: Value| message("user", field, value);
    let of = |field: &str| vec![format!("messages.{field} of given turns")];
    assert_eq!(names(&pair(user("weight", json!(1)), user("name", json!("x")))), of("weight"));
    assert_eq!(names(&pair(user("name", json!("x")), user("train", json!(true)))), of("train"));
    // What agrees with what is done, or says nothing, is no contradiction.
    let own = [json!({"role": "assistant", "content": "a", "weight": 0.5, "train": true})];
    let agreeing = with(&pair(user("weight", json!(0)), user("train", json!(false))), &[("rejected", json!(own))]);
    assert_eq!(names(&agreeing), Vec::<String>::new());
    assert_eq!(names(&pair(user("weight", Value::Null), user("train", Value::Null))), Vec::<String>::new());
    for (name, _) in COLUMNS.iter().filter(|(_, meaning)| *meaning == Meaning::Media) {
        let said = error(&pair(user("weight", json!(0)), user(name, json!(["a.png"]))));
        assert!(said.contains(&format!("`chosen[1].{name}` is for models that see or hear")), "{said}");
        assert!(read(&pair(user("weight", json!(0)), user(name, json!([])))).is_ok());
    }
    for wrong in [json!(-1), json!("NaN"), json!("1")] {
        let said = error(&pair(user("weight", wrong), user("name", json!("x"))));
        assert!(said.contains("`prompt[0].weight` should be a number that is not negative"), "{said}");
    }
}

#[test]
fn a_question_has_many_names() {
    let sides = json!({"chosen": "a", "rejected": "b"});
    for name in ["question", "query", "instruction", "input"] {
        assert_eq!(one(&with(&sides, &[(name, json!("q?"))])).prompt, "q?".into(), "{name}");
    }
    let alpaca = [("instruction", json!("add")), ("input", json!("2 2"))];
    assert_eq!(one(&with(&sides, &alpaca)).prompt, "add\n2 2".into());
    let without_input = read(&with(&sides, &[("instruction", json!("add")), ("input", json!(""))])).unwrap();
    assert_eq!((&without_input.records[0].prompt, without_input.not_read.len()), (&"add".into(), 0));
    assert_eq!(one(&json!({"instruction": "add", "output": "4"})).answers, Answers::Demonstration("4".into()));
    assert_eq!(one(&json!({"question": "q", "responses": ["a", "b"]})).prompt, "q".into());
    let two = [("question", json!("q")), ("query", json!("r"))];
    assert!(error(&with(&sides, &two)).contains("`question` could be the question, and so could `query`"));
    let same = [("question", json!("q")), ("query", json!("q"))];
    assert_eq!(one(&with(&sides, &same)).prompt, "q".into());
    let repeated = [("prompt", json!("Answer: q")), ("question", json!("q"))];
    assert_eq!(read(&with(&sides, &repeated)).unwrap().not_read, ["question".to_owned()].into());
}

#[test]
fn a_system_prompt_and_earlier_turns_come_first() {
    let sides = json!({"chosen": "a", "rejected": "b"});
    let record = one(&with(&sides, &[("system", json!("s")), ("question", json!("q"))]));
    assert_eq!(record.prompt, chat(&[("system", "s"), ("user", "q")]));
    assert_eq!(record.answers, Answers::Pair { chosen: assistant("a"), rejected: assistant("b") });
    // An empty one says nothing.
    let record = one(&with(&sides, &[("system", json!("")), ("question", json!("q"))]));
    assert_eq!(record.prompt, "q".into());
    let history = json!([["q1", "a1"]]);
    let record = with(&sides, &[("system", json!("s")), ("history", history), ("query", json!("q2"))]);
    let turns = chat(&[("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2")]);
    assert_eq!(one(&record).prompt, turns);
    let prompt = json!([say("system", "s"), say("user", "q")]);
    let record = with(&sides, &[("system", json!("s")), ("prompt", prompt.clone())]);
    assert_eq!(one(&record).prompt, chat(&[("system", "s"), ("user", "q")]));
    let record = with(&sides, &[("system", json!("another")), ("prompt", prompt)]);
    assert!(error(&record).contains("`system` is not the system prompt that the prompt begins with"));
    assert!(error(&with(&sides, &[("history", json!([["q1"]])), ("query", json!("q"))])).contains("`history`"));
}

#[test]
fn sides_may_repeat_the_end_of_the_prompt() {
    let side = |answer: &str| json!([say("user", "q"), say("assistant", answer)]);
    let pair = |prompt: Value| json!({"prompt": prompt, "chosen": side("a"), "rejected": side("b")});
    let (system, user) = (say("system", "s"), say("user", "q"));
    for (prompt, expected) in [
        (json!([system, user]), vec![("system", "s"), ("user", "q")]),
        (json!([user]), vec![("user", "q")]),
        (json!([system]), vec![("system", "s"), ("user", "q")]),
        (
            json!([say("user", "q0"), say("assistant", "a0"), user]),
            vec![("user", "q0"), ("assistant", "a0"), ("user", "q")],
        ),
        (json!([say("user", "q0"), say("assistant", "a0")]), vec![("user", "q0"), ("assistant", "a0"), ("user", "q")]),
    ] {
        let found = one(&pair(prompt.clone()));
        assert_eq!(found.prompt, chat(&expected), "{prompt}");
        assert_eq!(found.answers, Answers::Pair { chosen: assistant("a"), rejected: assistant("b") });
    }
    for prompt in [json!([say("user", "other")]), json!("other"), json!([system, say("user", "other")])] {
        assert!(error(&pair(prompt.clone())).contains("do not share a prompt"), "{prompt}");
    }
}

#[test]
fn spellings_of_other_trainers() {
    let expected = Answers::Pair { chosen: assistant("a"), rejected: assistant("b") };
    let question = json!([say("user", "q")]);
    let whole = json!([say("user", "q"), say("assistant", "a")]);
    let worse = json!([say("user", "q"), say("assistant", "b")]);
    let shared = |who: &str, words: &str| json!({"from": who, "value": words});
    for record in [
        json!({"messages": whole, "rejected_response": "b"}),
        json!({"messages": whole, "rejected_messages": worse}),
        json!({"messages": question, "chosen": say("assistant", "a"), "rejected": say("assistant", "b")}),
        json!({"conversations": [shared("human", "q")], "chosen": shared("gpt", "a"), "rejected": shared("gpt", "b")}),
        json!({"prompt": question, "chosen_response": say("assistant", "a"), "rejected_response": "b"}),
        json!({"prompt": {"role": ["user"], "content": ["q"]}, "chosen": {"role": ["assistant"], "content": ["a"]},
            "rejected": {"role": ["assistant"], "content": ["b"]}}),
    ] {
        let found = one(&record);
        assert_eq!((found.prompt, found.answers), (chat(&[("user", "q")]), expected.clone()), "{record}");
    }
    let plain = Answers::Pair { chosen: "a".into(), rejected: "b".into() };
    assert_eq!(one(&json!({"query": "q", "response": "a", "rejected_response": "b"})).answers, plain);
    let call = json!({"conversations": [shared("human", "q"), shared("function_call", "{}")]});
    assert!(error(&call).contains("`conversations[1].from` is a call of a tool"));
    let ragged = json!({"role": ["user", "user"], "content": ["q"]});
    assert!(error(&json!({"prompt": ragged, "chosen": "a", "rejected": "b"})).contains("columns of one length"));
}

#[test]
fn labels_are_true_or_false_in_many_ways() {
    let labelled = |label: Value| json!({"messages": [say("user", "q"), say("assistant", "a")], "label": label});
    for (label, expected) in [
        (json!(true), true),
        (json!(1), true),
        (json!(1.0), true),
        (json!("true"), true),
        (json!("False"), false),
        (json!(0.0), false),
        (json!(0), false),
    ] {
        let answers = Answers::Labelled { completion: assistant("a"), desirable: expected };
        assert_eq!(one(&labelled(label)).answers, answers);
    }
    for label in [json!(2), json!(-1), json!(0.5), json!("yes"), json!([])] {
        assert!(error(&labelled(label)).contains("field `label` should be true or false"));
    }
    let tagged = json!({"conversations": [say("user", "q"), say("assistant", "a")], "kto_tag": false});
    assert!(matches!(one(&tagged).answers, Answers::Labelled { desirable: false, .. }));
    let disliked = Format::Demonstration.read(&origin(), &labelled(json!(false))).unwrap_err().to_string();
    assert!(disliked.contains("`label` says that the answer is not liked"), "{disliked}");
}

#[test]
fn the_template_is_told_of_tools_and_arguments() {
    let sides = json!({"prompt": [say("user", "q")], "chosen": "a", "rejected": "b"});
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for given in [tools.clone(), json!(tools.to_string())] {
        assert_eq!(one(&with(&sides, &[("tools", given)])).variables["tools"], tools);
    }
    for nothing in [json!([]), json!(""), json!("[]"), json!("null"), Value::Null] {
        assert!(one(&with(&sides, &[("tools", nothing)])).variables.is_empty());
    }
    let more = json!({"day": "Monday", "enable_thinking": false, "none": null});
    let record = one(&with(&sides, &[("chat_template_kwargs", more.clone())]));
    assert_eq!(Value::Object(record.variables), more);
    assert!(error(&with(&sides, &[("tools", json!("f"))])).contains("`tools` should be a list of objects"));
    let ours = json!({"add_generation_prompt": true});
    assert!(error(&with(&sides, &[("chat_template_kwargs", ours)])).contains("says `add_generation_prompt`"));
    let plain = json!({"prompt": "q", "chosen": "a", "rejected": "b", "tools": tools});
    assert!(error(&plain).contains("`tools` is for chats"));
}

#[test]
fn a_message_is_what_transformers_hands_to_a_template() {
    let answer = |message: Value| {
        let record = one(&json!({"prompt": [say("user", "q")], "chosen": [message], "rejected": "b"}));
        let Answers::Pair { chosen: Text::Chat(mut messages), .. } = record.answers else { panic!("no chat") };
        messages.remove(0)
    };
    let calls = json!([{"type": "function", "function": {"name": "f", "arguments": {"at": "sea"}}}]);
    // What is null is left out, the content too.
    let found = answer(json!({"role": "assistant", "content": null, "tool_calls": calls, "name": null}));
    assert_eq!(serde_json::to_value(&found).unwrap(), json!({"role": "assistant", "tool_calls": calls}));
    for name in ["reasoning_content", "thinking", "reasoning"] {
        let found = answer(json!({"role": "assistant", "content": "a", name: "hm"}));
        assert_eq!((&found.fields["thinking"], &found.fields["reasoning_content"]), (&json!("hm"), &json!("hm")));
    }
    let found = answer(json!({"role": "critic", "content": "a", "name": "n"}));
    assert_eq!((found.role.as_str(), &found.fields["name"]), ("critic", &json!("n")));
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let found = answer(json!({"role": "assistant", "content": parts}));
    assert_eq!(found.content, Content::Parts(parts.as_array().unwrap().clone()));
    assert_eq!(found.content.words(), "ab");
    let picture = json!([{"type": "image", "image": "a.png"}, {"type": "text", "text": "what?"}]);
    let record = json!({"prompt": [{"role": "user", "content": picture}], "chosen": "a", "rejected": "b"});
    assert!(error(&record).contains("`prompt[0].content` has a part that is `image`"));
}

#[test]
fn prompts_are_read_like_records() {
    let asked = |record: Value| prompt(&origin(), &record).map(|asked| asked.prompt);
    assert_eq!(asked(json!({"prompt": "q"})).unwrap().text, "q".into());
    assert_eq!(asked(json!({"system": "s", "question": "q"})).unwrap().text, chat(&[("system", "s"), ("user", "q")]));
    let line = json!({"prompt": [say("user", "q")], "tools": [{"name": "f"}], "chat_template_kwargs": {"day": 1}});
    let found = asked(line.clone()).unwrap();
    assert_eq!(found.to_json(), line);
    assert!(asked(json!({"text": "q"})).unwrap_err().to_string().contains("field `prompt` is missing"));
    assert!(asked(json!({"prompt": "q", "images": ["x"]})).unwrap_err().to_string().contains("`images`"));
    // What a conversation asks, answered or not, and what both sides of a pair repeat.
    let (question, answer) = (say("user", "q"), say("assistant", "a"));
    for messages in [json!([question]), json!([question, answer])] {
        assert_eq!(asked(json!({ "messages": messages })).unwrap().text, chat(&[("user", "q")]));
    }
    let sides = json!({"chosen": [question, answer], "rejected": [question, say("assistant", "b")]});
    assert_eq!(asked(sides).unwrap().text, chat(&[("user", "q")]));
    let not_read = prompt(&origin(), &json!({"prompt": "q", "id": 7})).unwrap().not_read;
    assert_eq!(Vec::from_iter(not_read), ["id"]);
    let null = asked(json!({"prompt": null})).unwrap_err().to_string();
    assert!(null.ends_with("field `prompt` is null"), "{null}");
}

#[test]
fn denoisers_are_asked_for_captions() {
    let asked =
        |record: Value| caption(&origin(), &record).map(|asked| (asked.prompt.text, Vec::from_iter(asked.not_read)));
    assert_eq!(asked(json!({"caption": "c", "image": "x.png"})).unwrap(), ("c".into(), vec!["image".to_owned()]));
    assert_eq!(asked(json!({"prompt": "q", "caption": "c"})).unwrap(), ("q".into(), vec!["caption".to_owned()]));
    assert_eq!(asked(json!({"question": "q", "images": []})).unwrap().0, "q".into());
    assert!(asked(json!({"image": "x.png"})).unwrap_err().to_string().contains("`prompt` is missing"));
}

/// Tables write null where a row has nothing in a column that its neighbours fill.
#[test]
fn empty_columns_make_no_chat() {
    let record = |name: &str, value: &Value| json!({ "prompt": "q", "chosen": "a", "rejected": "b", name: value });
    for (name, nothing) in [
        ("system", json!(null)),
        ("system", json!("")),
        ("system_prompt", json!(" ")),
        ("history", json!(null)),
        ("history", json!([])),
    ] {
        let read = read(&record(name, &nothing)).unwrap();
        assert_eq!(read.records[0].prompt, "q".into(), "{name} {nothing}");
        assert!(read.not_read.is_empty(), "{name} {nothing}: {:?}", read.not_read);
        // A chat stays as it is.
        let chatty = with(&record(name, &nothing), &[("prompt", json!([say("user", "q")]))]);
        assert_eq!(one(&chatty).prompt, chat(&[("user", "q")]), "{name} {nothing}");
    }
    assert_eq!(one(&record("system", &json!("s"))).prompt, chat(&[("system", "s"), ("user", "q")]));
    for nothing in [json!(null), json!("")] {
        let both = with(&record("system", &json!("s")), &[("system_prompt", nothing)]);
        assert_eq!(one(&both).prompt, chat(&[("system", "s"), ("user", "q")]));
    }
    let two = with(&record("system", &json!("s")), &[("system_prompt", json!("t"))]);
    assert!(error(&two).contains("two system prompts"), "{}", error(&two));
}
