//! `judge`: files of samples, and judges behind an API.
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../eval/src/tests/server.rs"]
mod server;

use std::time::{Duration, Instant};

use hybrid_dpo::datasets::pairs::{
    GeneratedPair, GeneratedResult, Judge, Judgement, JudgementChange, LabelChoice, Modality, NewResult,
};
use hybrid_dpo::datasets::{JudgementLog, PairFolder, PairWriter};
use serde_json::{Map, Value, json};

use self::server::{Action, Server};
use super::{Scene, ran};

/// A folder of pairs whose better side is a.
fn pairs(scene: &Scene, name: &str, n: usize) {
    let mut writer = PairWriter::create(&scene.path(name), Modality::Token, Map::new(), None).unwrap();
    for index in 0..n {
        let side = |text| GeneratedResult { refined: None, made: NewResult::Response(text), seed: 0, log_probs: None };
        let (good, bad) = (format!("good answer {index}"), format!("bad {index}"));
        writer.push(&GeneratedPair { request: format!("request {index}"), a: side(&good), b: side(&bad) }).unwrap();
    }
    writer.finish().unwrap();
}

/// A judge that prefers what is good.
fn good(text: &str) -> Action {
    Action::say(if text.find("good") < text.find("bad") { "Comparison: x\nPreferred: A" } else { "Preferred: B" })
}

fn arguments(server: &Server) -> String {
    format!("--judge openai --endpoint {} --judge-model m --judge-parallel 1 --judge-retries 0", server.endpoint())
}

fn samples(scene: &Scene, name: &str, response: impl Fn(usize) -> String) {
    let line = |i| json!({"prompt": format!("request {i}"), "response": response(i)}).to_string();
    scene.write(name, (0..8).map(line).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_killed_judge_goes_on_and_asks_nothing_twice() {
    let scene = Scene::new();
    pairs(&scene, "pairs", 10);
    let server = Server::start(|number, request| if number == 4 { Action::Hang } else { good(&request.text()) });
    let arguments = format!("judge --pairs pairs {}", arguments(&server));
    let mut child = scene.command(&arguments).spawn().unwrap();
    // The fifth question is under way once the server has read it, and the answers to the others are kept by then.
    let begun = Instant::now();
    while server.count() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was asked");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let said = scene.done(&arguments);
    assert!(said.out.starts_with("pairs: 10 times a, 0 times b, 0 ties; a wins 1.000"), "{}", said.out);
    assert!(said.out.contains("6 requests, 6 answers and 4 kept ones; 600 + 60 tokens"), "{}", said.out);
    let mut asked: Vec<String> = server.requests().iter().map(server::Request::text).collect();
    assert_eq!(asked.len(), 11, "the one without an answer is asked again, and no other");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 10);
    scene.done(&arguments);
    assert_eq!(server.count(), 11);
    let labels = PairFolder::open(&scene.path("pairs")).unwrap().labels().unwrap();
    assert_eq!((labels.only(Judge::Model).preferences().len(), labels.labellers().len()), (10, 1));
}

#[test]
fn a_judge_that_is_down_is_one_message_and_what_it_said_is_kept() {
    let scene = Scene::new();
    pairs(&scene, "pairs", 10);
    let server = Server::start(|number, request| if number < 6 { good(&request.text()) } else { Action::Close });
    let line = format!("judge --pairs pairs {}", arguments(&server));
    scene.refused(
        &line,
        1,
        &["no answer after 1 try; the last", "6 of 10 pairs are judged", "pairs/judge-answers.jsonl"],
    );
    assert_eq!(scene.read("pairs/labels.jsonl").lines().count(), 6);
    assert_eq!(scene.read("pairs/judge-answers.jsonl").lines().count(), 6);
    let up = Server::start(|_, request| good(&request.text()));
    scene.done(&format!("judge --pairs pairs {}", arguments(&up)));
    assert_eq!(up.count(), 4);
}

#[test]
fn the_key_comes_from_the_environment_and_is_written_nowhere() {
    let scene = Scene::new();
    pairs(&scene, "pairs", 2);
    let server = Server::start(|_, request| {
        assert!(request.head.to_ascii_lowercase().contains("authorization: bearer sk-very-secret"), "{}", request.head);
        good(&request.text())
    });
    let line = format!("judge --pairs pairs --judge-key-variable MY_KEY {} --out judged.json", arguments(&server));
    let output = scene.command(&line).env("MY_KEY", "sk-very-secret").output().unwrap();
    let said = ran(&output);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let refusing = Server::start(|_, _| {
        Action::Reply(401, "", "{\"error\": {\"message\": \"bad key sk-very-secret\"}}".to_owned())
    });
    pairs(&scene, "other", 2);
    let line = format!("judge --pairs other {}", arguments(&refusing));
    let refused = ran(&scene.command(&line).env("OPENAI_API_KEY", "sk-very-secret").output().unwrap());
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("401 the key is refused, or missing: bad key ***"), "{}", refused.err);
    for text in [
        &said.out,
        &said.err,
        &refused.out,
        &refused.err,
        &scene.read("judged.json"),
        &scene.read("pairs/judge-answers.jsonl"),
    ] {
        assert!(!text.contains("very-secret"), "{text}");
    }
}

#[test]
fn files_of_samples_are_compared_by_any_judge() {
    let scene = Scene::new();
    samples(&scene, "good.jsonl", |i| format!("good answer {i}"));
    samples(&scene, "half.jsonl", |i| if i % 2 == 0 { format!("good {i}") } else { format!("bad {i}") });
    samples(&scene, "bad.jsonl", |i| format!("bad {i}"));
    let server = Server::start(|_, request| {
        let text = request.text();
        if text.contains("good") { good(&text) } else { Action::say("Preferred: tie") }
    });
    let line = format!("judge --a good.jsonl --a half.jsonl --b bad.jsonl {} --out judged.json", arguments(&server));
    let said = scene.done(&format!("{line} --judge-prompt-price 2.5 --judge-answer-price 10"));
    assert!(
        said.out.contains("good.jsonl against bad.jsonl: 8 times a, 0 times b, 0 ties; a wins 1.000"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("half.jsonl against bad.jsonl: 4 times a, 0 times b, 4 ties; a wins 0.750"),
        "{}",
        said.out
    );
    assert!(said.out.contains("good.jsonl less half.jsonl: +0.250"), "{}", said.out);
    let report: Value = serde_json::from_str(&scene.read("judged.json")).unwrap();
    assert_eq!((&report["systems"][1]["win_rate"], &report["systems"][1]["ties"]), (&json!(0.75), &json!(4)));
    assert_eq!(report["systems"][0]["mean_length"], json!({"a": 13.0, "b": 5.0}));
    // Four answers of half.jsonl are those of bad.jsonl: ties, about which nobody is asked.
    assert!((report["usage"]["cost"].as_f64().unwrap() - 12.0 * 0.000_35).abs() < 1e-9);
    assert_eq!(server.count(), 12);
    assert_eq!(report["differences"][0]["prompts"], 8);
    let before = server.count();
    scene.done(&line);
    assert_eq!(server.count(), before, "the answers are kept beside the samples");
    // The oracle knows the embedded requests only, and another file may have other prompts.
    scene.refused("judge --a good.jsonl --b bad.jsonl", 1, &["good.jsonl against bad.jsonl", "the oracle knows"]);
    scene.write("other.jsonl", json!({"prompt": "other", "response": "x"}).to_string());
    scene.refused("judge --a good.jsonl --b other.jsonl", 1, &["no prompt in common"]);
    scene.write("worse.jsonl", json!({"prompt": "other"}).to_string());
    scene.refused("judge --a good.jsonl --b worse.jsonl", 1, &["worse.jsonl, line 1", "response"]);
    scene.done("sample --limit-prompts 4 --max-length 96 --out one.jsonl");
    scene.done("sample --limit-prompts 4 --max-length 96 --seed 0 --temperature 0.5 --out two.jsonl");
    assert!(scene.done("judge --a one.jsonl --b two.jsonl").out.contains("one.jsonl against two.jsonl: "));
}

#[test]
fn an_instruction_with_its_input_is_the_request_and_conversations_are_shown_with_roles() {
    let scene = Scene::new();
    let line = |output: &str| json!({"instruction": "Translate.", "input": "Guten Tag", "output": output}).to_string();
    scene.write("a.jsonl", line("good day"));
    scene.write("b.jsonl", line("bad day"));
    let calls = json!([{"id": "c", "type": "function", "function": {"name": "count", "arguments": {"of": "apples"}}}]);
    let talk = |end: &str| {
        json!({"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}],
            "response": [{"role": "assistant", "content": "", "tool_calls": calls}, {"role": "tool", "content": "3"},
                {"role": "assistant", "content": end}]})
        .to_string()
    };
    scene.write("c.jsonl", talk("good: 3"));
    scene.write("d.jsonl", talk("bad: 4"));
    let server = Server::start(|_, request| good(&request.text()));
    for (one, other) in [("a", "b"), ("c", "d")] {
        let said = scene.done(&format!("judge --a {one}.jsonl --b {other}.jsonl {}", arguments(&server)));
        assert!(said.out.contains("1 times a, 0 times b, 0 ties"), "{}", said.out);
    }
    let asked: Vec<String> = server.requests().iter().map(server::Request::text).collect();
    assert!(asked[0].contains("Translate.") && asked[0].contains("Guten Tag"), "{}", asked[0]);
    for words in ["[system]\nBe brief.", "[user]\nHow many?", "\"name\":\"count\"", "[tool]\n3", "[assistant]\ngood: 3"]
    {
        assert!(asked[1].contains(words), "{}\ndoes not say {words}", asked[1]);
    }
}

#[test]
fn a_prompt_is_the_same_however_it_is_written() {
    let scene = Scene::new();
    let (asked, said) =
        (json!({"role": "user", "content": "How many?"}), |text: &str| json!([{"role": "assistant", "content": text}]));
    scene.write("a.jsonl", json!({"prompt": [asked], "response": said("good: 3")}).to_string());
    let whole = |text: &str| json!([asked, {"role": "assistant", "content": text}]);
    let turned = r#"{"prompt": [{"content": "How many?", "tool_calls": null, "role": "user"}], "chosen": "bad: 4"}"#;
    scene.write("implicit.jsonl", json!({"chosen": whole("bad: 4"), "rejected": whole("5")}).to_string());
    scene.write("turned.jsonl", turned);
    let text = |end: &str| format!("\n\nHuman: How many?\n\nAssistant: {end}");
    scene.write("hh.jsonl", json!({"chosen": text("bad: 4"), "rejected": text("5")}).to_string());
    let server = Server::start(|_, request| good(&request.text()));
    scene.write(
        "text.jsonl",
        json!({"prompt": "\n\nHuman: How many?\n\nAssistant:", "response": "good: 3"}).to_string(),
    );
    for (own, other) in [("a", "implicit"), ("a", "turned"), ("text", "hh")] {
        let said = scene.done(&format!("judge --a {own}.jsonl --b {other}.jsonl {}", arguments(&server)));
        assert!(said.out.contains("1 times a, 0 times b, 0 ties"), "{other}: {}", said.out);
        assert!(said.out.contains("a 7.0, b 6.0 characters"), "{other}: {}", said.out);
    }
}

#[test]
fn a_judge_that_is_stopped_says_what_is_kept() {
    let scene = Scene::new();
    pairs(&scene, "pairs", 10);
    let server = Server::start(|number, request| if number == 4 { Action::Hang } else { good(&request.text()) });
    let line = format!("judge --pairs pairs --judge-timeout 2 {}", arguments(&server));
    let child = scene.interruptible(&line).spawn().unwrap();
    let begun = Instant::now();
    while server.count() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was asked");
        std::thread::yield_now();
    }
    let stopped = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let said = ran(&child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(said.err.contains("what was answered is kept, and the same command goes on from there"), "{}", said.err);
    assert_eq!(scene.read("pairs/judge-answers.jsonl").lines().count(), 4);
}

#[test]
fn a_reply_without_a_content_is_counted_and_asked_for_again() {
    const NONE: &str = r#"{"choices": [{"message": {"content": null}}]}"#;
    let scene = Scene::new();
    pairs(&scene, "pairs", 3);
    let of = |number, text: &str| if number == 1 { Action::Reply(200, "", NONE.to_owned()) } else { good(text) };
    let server = Server::start(move |number, request| of(number, &request.text()));
    for (is_unparsed, asked, kept) in [(true, 3, 2), (false, 4, 3)] {
        let said = scene.done(&format!("judge --pairs pairs {}", arguments(&server)));
        assert_eq!(said.out.contains("no readable choice"), is_unparsed, "{}", said.out);
        assert_eq!((server.count(), scene.read("pairs/judge-answers.jsonl").lines().count()), (asked, kept));
    }
}

#[test]
fn both_orders_unparsed_replies_and_people_are_in_the_table() {
    let scene = Scene::new();
    pairs(&scene, "pairs", 4);
    let folder = PairFolder::open(&scene.path("pairs")).unwrap();
    let mut log = JudgementLog::open(&folder).unwrap();
    for index in 0..4 {
        let choice = if index == 3 { LabelChoice::B } else { LabelChoice::A };
        let change = JudgementChange::Chosen(choice);
        log.append(&Judgement { index, labeller: "anna".to_owned(), by: Judge::Person, change }).unwrap();
    }
    drop(log);
    let server = Server::start(|number, request| match number {
        0 => Action::say("I can't say."),
        _ => good(&request.text()),
    });
    let line = format!("judge --pairs pairs --judge-both-orders {} --out judged.json", arguments(&server));
    let said = scene.done(&line);
    assert_eq!(server.count(), 8);
    for words in [
        "pairs: 3 times a, 0 times b, 0 ties; a wins 1.000",
        "no readable choice              1 pairs",
        "the same in both orders         1.000 of 3 pairs",
        "agrees with people              0.667 of 3 pairs",
        "agrees with anna",
        "at equal length",
        "mean length                     a 13.0, b 5.0 characters",
    ] {
        assert!(said.out.contains(words), "{}\ndoes not say {words}", said.out);
    }
    let report: Value = serde_json::from_str(&scene.read("judged.json")).unwrap();
    let system = &report["systems"][0];
    assert_eq!((&system["unparsed"], &system["positions"]["both_orders"]), (&json!(1), &json!(3)));
    assert_eq!(scene.done(&line).out.lines().next(), said.out.lines().next());
    assert_eq!(server.count(), 8);
}

#[test]
fn settings_of_a_judge_that_cannot_be_used() {
    let scene = Scene::new();
    pairs(&scene, "pairs", 1);
    scene.write("template.txt", "{prompt} {answer_a}");
    scene.write("no.pem", "nothing");
    let openai = "judge --pairs pairs --judge openai --judge-model m --endpoint";
    for (line, code, says) in [
        ("judge --pairs pairs --judge openai --judge-model m".to_owned(), 2, &["--endpoint URL"][..]),
        ("judge --pairs pairs --judge openai --endpoint http://x/v1".to_owned(), 2, &["--judge-model NAME"]),
        (format!("{openai} x/v1"), 2, &["--endpoint takes an address", "no http:// or https://"]),
        (format!("{openai} https://a:b@x/v1"), 2, &["https://***@x/v1"]),
        (format!("{openai} http://x/v1 --judge-template template.txt"), 1, &["template.txt", "{answer_b} is missing"]),
        (format!("{openai} https://x/v1 --judge-ca no.pem"), 2, &["--judge-ca", "PEM"]),
        (format!("{openai} http://x/v1 --judge-fields [1]"), 2, &["--judge-fields takes a JSON object"]),
        (format!("{openai} http://x/v1 --judge-rate -1"), 2, &["--judge-rate"]),
        ("judge --pairs pairs --endpoint http://x/v1".to_owned(), 2, &["--endpoint is for --judge openai"]),
        ("judge --pairs pairs --a a.jsonl".to_owned(), 2, &["--a is not for --pairs"]),
        ("judge --a a.jsonl".to_owned(), 2, &["--b FILE"]),
        ("judge --pairs pairs --chat-template x".to_owned(), 2, &["--chat-template"]),
        ("train --judge openai".to_owned(), 2, &["--judge goes with --rounds or --judge-every"]),
        ("train --judge-every 2 --judge people --out new".to_owned(), 2, &["can't wait for people"]),
        ("train --best-metric win_rate --out new".to_owned(), 2, &["win_rate goes with --judge-every"]),
        (
            "train --model builtin:tldr --data own.jsonl --judge-every 2 --judge oracle --out new".to_owned(),
            2,
            &["with --judge-every, --judge is to be openai", "the oracle knows the embedded problems only"],
        ),
    ] {
        scene.refused(&line, code, says);
    }
}

/// Settings of a short run.
const RUN: &str = "train --limit 16 --batch-size 4 --micro-batch-size 4 --eval-examples 4 --n-samples 0 \
                   --judge-prompts 4 --quiet";

#[test]
fn a_run_is_compared_with_its_start() {
    let scene = Scene::new();
    scene.done(&format!("{RUN} --judge-every 2 --lr 1e-4 --out run"));
    let lines = scene.metrics("run");
    let rates: Vec<(u64, f64)> =
        lines.iter().filter_map(|line| Some((line["step"].as_u64()?, line["win_rate"].as_f64()?))).collect();
    assert_eq!(rates.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [2, 4]);
    for line in lines.iter().filter(|line| line["win_rate"].is_number()) {
        assert_eq!(line["split"], "eval");
        let [rate, low, high] = ["win_rate", "win_rate/low", "win_rate/high"].map(|name| line[name].as_f64().unwrap());
        assert!(low < rate && rate < high || low <= rate && rate <= high, "{line}");
        assert!(line["loss"].is_number() && line["win_rate/ties"].is_number(), "{line}");
    }
    let folder = PairFolder::open(&scene.path("run/judged/step-2")).unwrap();
    assert_eq!((folder.len(), folder.labels().unwrap().count("oracle")), (4, 4));
    let judged = format!("{RUN} --judge-every 2 --judge run --lr 1e-4 --out by-run").replace("--quiet", "");
    let said = scene.done(&judged);
    assert_eq!(said.err.matches("limits: ").count(), 1, "a judge's data have no audit between the steps: {}", said.err);
    assert!(said.err.contains("judged        every 2: 2 times on 4 prompts by run"), "{}", said.err);
    assert!(said.out.contains("win rate, 95% interval"), "{}", said.out);
    let start = PairFolder::open(&scene.path("run/judged/start")).unwrap();
    assert!(start.pairs().iter().zip(folder.pairs()).all(|(start, pair)| start.a.made == pair.b.made));
}

#[test]
fn a_run_goes_on_where_its_judge_is_down() {
    let scene = Scene::new();
    let server = Server::start(|number, _| if number < 4 { Action::say("Preferred: tie") } else { Action::Close });
    let line = format!("{RUN} --judge-every 2 --lr 1e-3 {} --out run", arguments(&server)).replace("--quiet", "");
    let said = scene.done(&line);
    assert!(said.err.contains("step 4 has no win rate: "), "{}", said.err);
    assert!(said.err.contains("training goes on without") && !said.err.contains("the same command"), "{}", said.err);
    let lines = scene.metrics("run");
    let rates: Vec<&Value> = lines.iter().filter(|line| line["win_rate"].is_number()).collect();
    assert_eq!((rates.len(), &rates[0]["step"], &rates[0]["win_rate"]), (1, &json!(2), &json!(0.5)));
    let config = scene.read("run/config.toml");
    assert!(config.contains("every = 2") && config.contains("OPENAI_API_KEY"), "{config}");
}

#[test]
fn a_comparison_that_is_stopped_is_made_when_the_run_goes_on() {
    let whole = Scene::new();
    let agreeing = Server::start(|_, _| Action::say("Preferred: tie"));
    let line =
        |server: &Server| format!("{RUN} --judge-every 2 --lr 1e-3 --judge-timeout 2 {} --out run", arguments(server));
    whole.done(&line(&agreeing));
    let expected = whole.metrics("run");
    // The third question of the comparison after step 2, and of the one after step 4, the last.
    for (stopped, step) in [(2, 2), (6, 4)] {
        let scene = Scene::new();
        let server = Server::start(
            move |number, _| {
                if number == stopped { Action::Hang } else { Action::say("Preferred: tie") }
            },
        );
        let child = scene.interruptible(&line(&server)).spawn().unwrap();
        let begun = Instant::now();
        while server.count() <= stopped {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing was asked");
            std::thread::yield_now();
        }
        let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(ran(&child.wait_with_output().unwrap()).code, Some(130), "step {step}");
        let last = scene.metrics("run").pop().unwrap();
        assert_eq!((&last["split"], &last["step"]), (&json!("train"), &json!(step)));
        let resumed = scene.done("train --resume run --quiet");
        assert!(resumed.out.contains("win rate"), "step {step}: {}", resumed.out);
        let plain = |mut lines: Vec<Value>| {
            for line in &mut lines {
                line.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_per_second"));
            }
            lines
        };
        assert_eq!(plain(scene.metrics("run")), plain(expected.clone()), "stopped after step {step}");
    }
}
