use serde_json::{Value, json};

use super::*;
use crate::holdout::PromptHash;
use crate::record::{Answers, Message, Text};

fn origin() -> Origin {
    Origin::line(&std::path::Path::new("data.jsonl").into(), 3)
}

fn parse(record: &Value) -> Result<Vec<PreferenceRecord>, DatasetError> {
    Format::detect(&origin(), record)?.parse(&origin(), record)
}

fn one(record: &Value) -> PreferenceRecord {
    let mut records = parse(record).unwrap();
    assert_eq!(records.len(), 1);
    records.remove(0)
}

fn chat(turns: &[(&str, &str)]) -> Text {
    Text::Chat(turns.iter().map(|(role, content)| Message::new(*role, *content)).collect())
}

fn say(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// Checks that a record is a pair of this format, with this prompt and these sides.
fn check_pair(
    record: &Value,
    format: Format,
    prompt: impl Into<Text>,
    chosen: impl Into<Text>,
    rejected: impl Into<Text>,
) {
    assert_eq!(Format::detect(&origin(), record).unwrap(), format);
    let found = one(record);
    assert_eq!(found.prompt, prompt.into());
    assert_eq!(found.answers, Answers::Pair { chosen: chosen.into(), rejected: rejected.into() });
}

/// Checks that a record is refused with a message that has all these parts.
fn check_error(record: &Value, parts: &[&str]) {
    let error = parse(record).expect_err(&record.to_string());
    let message = error.to_string();
    for part in parts.iter().chain(&["data.jsonl, line 3"]) {
        assert!(message.contains(part), "`{part}` is not in `{message}`");
    }
}

#[test]
fn trl_with_a_prompt() {
    check_pair(&json!({"prompt": "Q: ", "chosen": "a", "rejected": "b"}), Format::Trl, "Q: ", "a", "b");
    let record = json!({"prompt": [say("user", "q")], "chosen": [say("assistant", "a")], "rejected": "b"});
    let question = chat(&[("user", "q")]);
    check_pair(&record, Format::Trl, question, chat(&[("assistant", "a")]), chat(&[("assistant", "b")]));
}

#[test]
fn trl_finds_the_implicit_prompt() {
    // Hand-derived from TRL's rule: the first letter that differs ends the prompt, a space before it goes with the answers.
    let cases = [
        ("The sky is blue.", "The sky is green.", "The sky is"),
        ("The sky is blue.", "The sky is black.", "The sky is bl"),
        ("ab", "abc", "a"),
        ("same", "same", "sam"),
        ("x", "y", ""),
        ("née le", "née la", "née l"),
    ];
    for (chosen, rejected, prompt) in cases {
        let (chosen_rest, rejected_rest) = (&chosen[prompt.len()..], &rejected[prompt.len()..]);
        check_pair(&json!({"chosen": chosen, "rejected": rejected}), Format::Trl, prompt, chosen_rest, rejected_rest);
    }
    let start = [say("system", "s"), say("user", "q")];
    let side = |answer| [&start[..], &[say("assistant", answer)]].concat();
    let prompt = chat(&[("system", "s"), ("user", "q")]);
    let record = json!({"chosen": side("a"), "rejected": side("b")});
    check_pair(&record, Format::Trl, prompt.clone(), chat(&[("assistant", "a")]), chat(&[("assistant", "b")]));
    // Equal sides still leave an answer.
    let record = json!({"chosen": side("a"), "rejected": side("a")});
    check_pair(&record, Format::Trl, prompt, chat(&[("assistant", "a")]), chat(&[("assistant", "a")]));
}

#[test]
fn ultrafeedback_repeats_the_prompt() {
    let side = |answer| json!([say("user", "q"), say("assistant", answer)]);
    let record = json!({"prompt": "q", "chosen": side("a"), "rejected": side("b"), "score_chosen": 5.0,
        "score_rejected": 5.0, "messages": side("a")});
    let question = chat(&[("user", "q")]);
    check_pair(&record, Format::Ultrafeedback, question, chat(&[("assistant", "a")]), chat(&[("assistant", "b")]));
    assert!(one(&record).is_tied);
    let parts = json!([say("user", "q"), {"role": "assistant", "content": [{"type": "text", "text": "a"}]}]);
    let record = json!({"chosen": parts, "rejected": side("b"), "score_chosen": 5, "score_rejected": 4});
    assert!(!one(&record).is_tied);
    check_error(
        &json!({"prompt": "q", "chosen": side("a"), "rejected": [say("user", "other"), say("assistant", "b")]}),
        &["do not share a prompt", "message 1"],
    );
    check_error(
        &json!({"prompt": "q", "chosen": side("a"), "rejected": [say("assistant", "b")]}),
        &["do not share a prompt", "one side repeats"],
    );
    let [first, second] = ["a", "b"].map(|asked| json!([say("user", asked), say("assistant", "x")]));
    check_error(
        &json!({"prompt": [say("user", "q"), say("assistant", "a")], "chosen": first, "rejected": second}),
        &["do not share a prompt", "both go on from `prompt`", "belongs to `prompt`"],
    );
}

#[test]
fn hh_splits_at_the_last_turn() {
    let start = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: and?\n\nAssistant:";
    let record = json!({"chosen": format!("{start} yes"), "rejected": format!("{start} no")});
    check_pair(&record, Format::Hh, start, " yes", " no");
    assert_eq!(Format::Hh.truncation(), Truncation::KeepEnd);
    check_error(
        &json!({"chosen": format!("{start} yes"), "rejected": "\n\nHuman: x\n\nAssistant: no"}),
        &["do not share a prompt"],
    );
    check_error(&json!({"chosen": format!("{start} yes"), "rejected": start}), &["`rejected` is empty"]);
    let error = Format::Hh.parse(&origin(), &json!({"chosen": "hello", "rejected": "x"})).unwrap_err().to_string();
    assert!(error.contains("field `chosen` should be a dialogue"), "{error}");
}

#[test]
fn tldr_makes_the_prompt_of_a_post() {
    let summaries = json!([{"text": " one", "policy": "p"}, {"text": "two", "policy": "q"}]);
    let record = json!({
        "info": {"id": "t3", "post": "First.\n\nSecond.\n\n\nThird.", "title": "A title", "subreddit": "tifu"},
        "summaries": summaries, "choice": 1, "split": "valid1", "extra": {"confidence": 7}, "batch": "b",
    });
    let prompt = "SUBREDDIT: r/tifu\n\nTITLE: A title\n\nPOST: First.\nSecond.\n\nThird.\n\nTL;DR:";
    check_pair(&record, Format::Tldr, prompt, " two", " one");
    assert_eq!(Format::Tldr.split(&record), Some(crate::reading::SplitKind::Validation));
    let record = json!({"info": {"article": "News.\n\nMore.", "title": "T", "site": "cnn"}, "summaries": summaries, "choice": 0});
    check_pair(&record, Format::Tldr, "TITLE: T\n\nNews.\nMore.\n\nTL;DR:", " one", " two");
    // The format's Parquet form has three columns; asked for by name it is taken as it is.
    let record = json!({"prompt": "P", "chosen": " a", "rejected": " b"});
    assert_eq!(Format::Tldr.parse(&origin(), &record).unwrap()[0].prompt, "P".into());
    let info = json!({"post": "p", "title": "t", "subreddit": "s"});
    check_error(&json!({"info": info, "summaries": summaries, "choice": 2}), &["`choice`", "0 or 1", "is 2"]);
    check_error(&json!({"info": info, "summaries": [], "choice": 0}), &["`summaries`", "a list of 2"]);
    check_error(
        &json!({"info": info, "summaries": [{"text": ""}, {"text": "b"}], "choice": 0}),
        &["summaries[0].text"],
    );
    check_error(
        &json!({"info": info, "summaries": [{}, {"text": "b"}], "choice": 0}),
        &["`summaries[0].text` is missing"],
    );
    check_error(
        &json!({"info": {"post": "p", "title": "t"}, "summaries": summaries, "choice": 0}),
        &["field `info.subreddit` is missing", "found: post, title"],
    );
}

#[test]
fn kto_and_demonstrations() {
    let record = json!({"prompt": "p", "completion": "c", "label": true});
    assert_eq!(one(&record).answers, Answers::Labelled { completion: "c".into(), desirable: true });
    let record = json!({"prompt": [say("user", "p")], "completion": [say("assistant", "c")], "label": 0});
    let completion = chat(&[("assistant", "c")]);
    assert_eq!(one(&record).answers, Answers::Labelled { completion: completion.clone(), desirable: false });
    check_error(&json!({"prompt": "p", "completion": "c", "label": "yes"}), &["`label`", "true or false", "\"yes\""]);
    let record = json!({"prompt": "p", "completion": "c"});
    assert_eq!(one(&record).answers, Answers::Demonstration("c".into()));
    let record = json!({"messages": [say("user", "p"), say("assistant", "c")]});
    assert_eq!(one(&record).prompt, chat(&[("user", "p")]));
    assert_eq!(one(&record).answers, Answers::Demonstration(completion));
    check_error(&json!({"messages": [say("user", "p")]}), &["messages that end with the assistant"]);
}

#[test]
fn ranked_answers() {
    let best_first = Answers::Ranked(vec!["a".into(), "b".into(), "c".into()]);
    assert_eq!(one(&json!({"prompt": "p", "responses": ["a", "b", "c"]})).answers, best_first);
    assert_eq!(one(&json!({"prompt": "p", "responses": ["c", "a", "b"], "ranks": [9, 1, 2.5]})).answers, best_first);
    check_error(&json!({"prompt": "p", "responses": ["a"]}), &["`responses`", "two or more", "a list of 1"]);
    check_error(
        &json!({"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}),
        &["`ranks`", "one different number"],
    );
    check_error(&json!({"prompt": "p", "responses": ["a", "b"], "ranks": [1]}), &["`ranks`"]);
    check_error(&json!({"prompt": "p", "responses": ["a", " "]}), &["`responses[1]` is empty"]);
    check_error(&json!({"prompt": "p", "responses": vec!["a"; 1025]}), &["1025 answers to one prompt, more than 1024"]);
    check_error(&json!({"prompt": "p", "responses": ["a", [say("assistant", "b")]]}), &["all strings or all messages"]);
}

#[test]
fn a_tree_gives_a_list_for_every_ranked_set_of_siblings() {
    let node = |role: &str, text: &str, rank: Value, replies: Value| json!({"text": text, "role": role, "rank": rank, "replies": replies, "deleted": false});
    let deep = node(
        "prompter",
        "q2",
        Value::Null,
        json!([
            node("assistant", "worse2", json!(1), json!([])),
            node("assistant", "better2", json!(0), json!([])),
            node("assistant", "unranked", Value::Null, json!([])),
        ]),
    );
    let mut deleted = node("assistant", "deleted", json!(5), json!([]));
    deleted["deleted"] = json!(true);
    let root = node(
        "prompter",
        "q1",
        Value::Null,
        json!([
            node("assistant", "third", json!(2), json!([])),
            node("assistant", "best", json!(0), json!([deep])),
            node("assistant", "second", json!(1), json!([node("prompter", "alone", Value::Null, json!([]))])),
            deleted,
        ]),
    );
    let record = json!({"message_tree_id": "1", "tree_state": "ready_for_export", "prompt": root});
    assert_eq!(Format::detect(&origin(), &record).unwrap(), Format::Tree);
    let found = parse(&record).unwrap();
    let answer = |text| chat(&[("assistant", text)]);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].prompt, chat(&[("user", "q1")]));
    assert_eq!(found[0].answers, Answers::Ranked(vec![answer("best"), answer("second"), answer("third")]));
    assert_eq!(found[1].prompt, chat(&[("user", "q1"), ("assistant", "best"), ("user", "q2")]));
    assert_eq!(found[1].answers, Answers::Ranked(vec![answer("better2"), answer("worse2")]));
    // Both are held out or neither: the second's prompt contains the first's and one of its answers.
    assert_eq!(PromptHash::of_record(&found[1]), PromptHash::of(&found[0].prompt));
    assert_ne!(PromptHash::of(&found[1].prompt), PromptHash::of(&found[0].prompt));
    let twins = json!([node("assistant", "a", json!(0), json!([])), node("assistant", "b", json!(0), json!([]))]);
    check_error(
        &json!({"prompt": node("prompter", "q", Value::Null, twins)}),
        &["`rank`", "different from its siblings'"],
    );
}

#[test]
fn names_of_messages_that_contradict_a_tree_are_refused() {
    let node = |name: &str, parent: Value, role: &str, rank: Value, replies: Value| json!({"message_id": name, "parent_id": parent, "role": role, "text": name, "rank": rank, "replies": replies});
    let tree = |names: [&str; 2], parents: [&str; 2]| {
        let reply = |at: usize, replies: Value| node(names[at], json!(parents[at]), "assistant", json!(at), replies);
        let replies = json!([reply(0, json!([])), reply(1, json!([]))]);
        json!({"prompt": node("q", Value::Null, "prompter", Value::Null, replies)})
    };
    let read = Format::Tree.read(&origin(), &tree(["a", "b"], ["q", "q"])).unwrap();
    assert_eq!((read.records.len(), read.not_read.len()), (1, 0));
    check_error(&tree(["a", "b"], ["q", "x"]), &["`parent_id` of the message `b` is `x`, and it stands under `q`"]);
    check_error(&tree(["a", "a"], ["q", "q"]), &["`message_id` is `a` of two messages of the tree"]);
    check_error(&tree(["a", "q"], ["q", "q"]), &["`message_id` is `q` of two messages of the tree"]);
    let orphan = json!({"parent_id": "q", "text": "a", "role": "assistant"});
    check_error(&orphan, &["`parent_id`", "there is no `message_id`"]);
}

#[test]
fn a_side_that_begins_with_a_tools_result_is_named() {
    let (user, answer, result) = (say("user", "q"), say("assistant", "a"), say("tool", "3"));
    let call = json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]});
    let pair = |prompt: Value, chosen: Value, rejected: Value| json!({"prompt": prompt, "chosen": chosen, "rejected": rejected});
    let (long, short) = (json!([result, answer]), json!([say("assistant", "b")]));
    let uncalled = ["`chosen` begins with the result of a tool, and no call of the assistant's"];
    check_error(&pair(json!([user]), long.clone(), short.clone()), &uncalled);
    let called =
        ["`rejected` begins with the result of a tool, and `chosen` does not: what both were told belongs to `prompt`"];
    check_error(&pair(json!([user, call]), short, long), &called);
    let whole = json!({"chosen": [user, result, answer], "rejected": [user, answer]});
    check_error(&whole, &uncalled);
    let both = json!({"prompt": [user, call, result], "chosen": [answer], "rejected": [say("assistant", "b")]});
    assert_eq!(one(&both).prompt, serde_json::from_value(json!([user, call, result])).map(Text::Chat).unwrap());
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let known = ["known are trl", "kto (prompt, completion, label)", "tree"];
    check_error(&json!({"question": "q", "answer": "a"}), &[&["the fields question, answer"], &known[..]].concat());
    check_error(&json!({}), &["the fields none"]);
    check_error(&json!([1]), &["should be an object", "a list of 1"]);
    check_error(&json!({"prompt": "p", "chosen": "a", "rejected": 5}), &["`rejected`", "a string or a list", "is 5"]);
    check_error(&json!({"prompt": "p", "chosen": " \n", "rejected": "b"}), &["the answer in `chosen` is empty"]);
    check_error(
        &json!({"prompt": "p", "chosen": [{"role": "user"}], "rejected": "b"}),
        &["`chosen[0].content` is missing"],
    );
    check_error(&json!({"prompt": "p", "chosen": ["a"], "rejected": "b"}), &["`chosen[0]`", "a message with"]);
    let error =
        Format::Trl.parse(&origin(), &json!({"prompt": "p", "chosen": "a", "extra": 1})).unwrap_err().to_string();
    assert_eq!(error, "data.jsonl, line 3: field `rejected` is missing (found: prompt, chosen, extra)");
}

#[test]
fn names_of_formats_go_both_ways() {
    for format in Format::ALL {
        assert_eq!(format.name().parse::<Format>().unwrap(), format);
        assert_eq!(serde_json::to_value(format).unwrap(), format.name());
    }
    let error = "jsonl".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("unknown format `jsonl`; known are trl, tldr, hh"), "{error}");
}
