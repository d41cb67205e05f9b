//! Conversations of several turns: what is scored, and what trees become.
use serde_json::{Value, json};

use super::images::copy_golden;
use super::{MODEL, Scene};

const TEMPLATE: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}\n{% endfor %}\
                        {% if add_generation_prompt %}<assistant>{{ start }}{% endif %}";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A scene with the template, and the flags that go with it.
fn scene() -> (Scene, String) {
    let scene = Scene::new();
    scene.write("chat.jinja", TEMPLATE);
    (scene, format!("--model {MODEL} --chat-template chat.jinja --quiet"))
}

/// The numbers of an answer's scored tokens, and how many are given.
fn scored(answer: &Value) -> (Vec<f64>, usize) {
    let all = answer["log_probs"].as_array().unwrap();
    let numbers: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
    assert_eq!(all.len(), answer["tokens"].as_array().unwrap().len());
    (numbers.clone(), all.len() - numbers.len())
}

fn assistant(content: &str) -> Value {
    json!({"role": "assistant", "content": content})
}

#[test]
fn a_turn_is_scored_behind_what_was_said_before_and_alone() {
    let (scene, flags) = scene();
    let user = |content: &str| json!({"role": "user", "content": content});
    let talk = json!({"prompt": [user("one")], "rejected": [assistant("no")],
        "chosen": [assistant("two"), user("three"), assistant("four")]});
    let last = json!({"prompt": [user("one"), assistant("two"), user("three")], "chosen": [assistant("four")],
        "rejected": [assistant("no")]});
    scene.write("talks.jsonl", format!("{talk}\n{last}\n"));
    let found = lines(&scene.done(&format!("score --data talks.jsonl {flags}")).out);
    let ((talk, n_given), (alone, none_given)) = (scored(&found[0]["chosen"]), scored(&found[1]["chosen"]));
    assert!(n_given > 10 && none_given == 0 && talk.len() > alone.len(), "{found:?}");
    let end = &talk[talk.len() - alone.len()..];
    assert!(end.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5), "{end:?} {alone:?}");
    assert!(found[0]["chosen"]["weights"].is_array() && found[1]["chosen"]["weights"].is_null());
    let shown = scene.done(&format!("inspect {MODEL} --chat-template chat.jinja --data talks.jsonl --show 1")).out;
    assert!(shown.contains("[given] ") && shown.contains("tokens given in answers"), "{shown}");
}

#[test]
fn a_forest_has_the_numbers_of_its_pairs() {
    let (scene, flags) = scene();
    let reply = |text: &str, rank: u32, replies: Value| json!({"text": text, "role": "assistant", "rank": rank, "replies": replies});
    let more =
        json!({"text": "and", "role": "prompter", "replies": [reply("c", 0, json!([])), reply("d", 1, json!([]))]});
    let tree = json!({"prompt": {"text": "hi", "role": "prompter", "replies": [
        reply("b", 1, json!([])), reply("a", 0, json!([more])),
    ]}});
    scene.write("tree.jsonl", format!("{tree}\n"));
    let score = |pairs: &str| lines(&scene.done(&format!("score --data tree.jsonl --tree-pairs {pairs} {flags}")).out);
    let (pairs, forest) = (score("all"), score("forest"));
    assert_eq!((pairs.len(), forest.len(), &forest[0]["comparisons"]), (2, 1, &json!([[0, 1], [2, 3]])));
    let sides = pairs.iter().flat_map(|pair| [&pair["chosen"], &pair["rejected"]]);
    for (side, answer) in sides.zip(forest[0]["answers"].as_array().unwrap()) {
        let (side, answer) = (scored(side).0, scored(answer).0);
        assert_eq!(side.len(), answer.len());
        assert!(side.iter().zip(&answer).all(|(a, b)| (a - b).abs() < 1e-5), "{side:?} {answer:?}");
    }
    let train = format!(
        "train --data tree.jsonl --eval-share 0 --batch-size 1 --micro-batch-size 1 --max-steps 1 --warmup-steps 0 --n-samples 0 {flags}"
    );
    scene.done(&format!("{train} --tree-pairs forest --out trees"));
    scene.refused(
        &format!("{train} --tree-pairs forest --objective kto --out other"),
        1,
        &["whole conversation trees", "--tree-pairs best-worst"],
    );
    scene.done(&format!("{train} --tree-pairs best-worst --objective kto --out pairs"));
}

#[test]
fn template_arguments_come_from_flags_tables_and_records() {
    let (scene, flags) = scene();
    scene.write("chat.jinja", TEMPLATE.replace("{{ m.content }}", "{{ start }}{{ m.content }}"));
    let record = |more: Value| {
        let mut record = json!({"prompt": [{"role": "user", "content": "q"}], "completion": [assistant("a")]});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("{record}\n")
    };
    scene.write("data.jsonl", record(json!({})) + &record(json!({"chat_template_kwargs": {"start": "own"}})));
    scene.write("c.toml", "[template]\nstart = \"x y\"\n");
    let prompts = |more: &str| -> Vec<usize> {
        let found = lines(&scene.done(&format!("score --data data.jsonl {flags} {more}")).out);
        found.iter().map(|line| line["prompt_tokens"].as_array().unwrap().len()).collect()
    };
    let (none, flag, table) = (prompts(""), prompts("--template start=no"), prompts("--config c.toml"));
    assert!(none[0] < flag[0] && none[0] < table[0], "{none:?} {flag:?} {table:?}");
    assert!(none[0] < none[1] && none[1] == flag[1], "{none:?} {flag:?}");
    scene.refused(&format!("score --data data.jsonl {flags} --template stop=1"), 2, &["does not read `stop`"]);
    scene.refused(&format!("score --data data.jsonl {flags} --template sta=1"), 2, &["does not read `sta`", "`start`"]);
    for (template, says) in [
        ("start", "takes name=value"),
        ("=x", "takes name=value, not `=x`"),
        ("start=1,start=2", "--template gives `start` twice"),
        ("endfor=1", "does not read `endfor`"),
        ("m=1", "does not read `m`"),
        ("messages=1", "`messages` is not an argument"),
    ] {
        scene.refused(&format!("score --data data.jsonl {flags} --template {template}"), 2, &[says]);
    }
    let list = prompts("--template start=[1,2]");
    assert_eq!(list.len(), 2, "{list:?}");
    // What does nothing for the data is refused.
    scene.write("plain.jsonl", "{\"prompt\":\"p\",\"chosen\":\" a\",\"rejected\":\" b\"}\n");
    for (flag, says) in [
        ("--template start=no", "--template would do nothing: all texts are plain"),
        ("--assistant-only", "--assistant-only would do nothing: no record is a conversation with one answer"),
        ("--tree-pairs all", "--tree-pairs would do nothing: no record is a conversation tree"),
        ("--map chosen=prefered", "nothing reads a column `prefered`"),
    ] {
        scene.refused(&format!("score --data plain.jsonl {flags} {flag}"), 2, &[says]);
    }
}

#[test]
fn credit_of_a_conversation_has_its_spans_and_a_reward_models_differences() {
    let (scene, _) = scene();
    copy_golden(&scene, "rewards/llama", "reward");
    let talk = json!({"prompt": [{"role": "user", "content": "a dog"}], "spans": [[0, 5, 8], [2, 3, 6]],
        "response": [assistant("good red"), json!({"role": "user", "content": "so"}), assistant("ok red")]});
    scene.write("talk.jsonl", format!("{talk}\n"));
    let models = "--model builtin:tldr --reference builtin:tldr-untrained --chat-template chat.jinja";
    let credit = format!("credit {models} --data talk.jsonl --reward-model reward --quiet");
    let said = scene.done(&format!("{credit} --out credit.jsonl"));
    assert!(said.out.contains("answers with wrong spans: 1;"), "{}", said.out);
    let line = &lines(&scene.read("credit.jsonl"))[0];
    let text: Vec<char> = line["text"].as_str().unwrap().chars().collect();
    let pairs = |name: &str| -> Vec<[usize; 2]> { serde_json::from_value(line[name].clone()).unwrap() };
    let part = |[start, end]: [usize; 2]| text[start..end].iter().collect::<String>();
    assert_eq!(pairs("spans").into_iter().map(part).collect::<Vec<_>>(), ["red", "red"]);
    let (places, rewards) = (pairs("offsets"), line["reward_model"].as_array().unwrap());
    let flags = |name: &str| -> Vec<bool> { serde_json::from_value(line[name].clone()).unwrap() };
    let (wrong, given) = (flags("wrong"), flags("given"));
    for (at, place) in places.iter().enumerate() {
        let word = part(*place);
        assert_eq!(
            wrong[at],
            pairs("spans").iter().any(|span| place[0].max(span[0]) < place[1].min(span[1])),
            "{word}"
        );
        // Ends and what is given have no reward of their own.
        assert!(!(given[at] || word.contains('<') || word == "\n") || rewards[at] == 0.0, "{word} {line}");
    }
    assert!(rewards.iter().filter(|reward| reward.as_f64() != Some(0.0)).count() > 2, "{line}");
    let of = |spans: Value| {
        let mut talk = talk.clone();
        talk["spans"] = spans;
        scene.write("talk.jsonl", format!("{talk}\n"));
    };
    of(json!([[1, 0, 2]]));
    scene.refused(&credit, 1, &["talk.jsonl, line 1", "message 1 of the answer", "given"]);
    of(json!([[0, 2]]));
    scene.refused(&credit, 1, &["talk.jsonl, line 1", "[message, start, end]"]);
}

#[test]
fn what_a_loss_does_not_take_is_said_before_the_first_step() {
    let (scene, _) = scene();
    let rows = |last: Value| {
        let mut row = json!({"prompt": "p", "chosen": "a", "rejected": "b"});
        let plain = format!("{row}\n").repeat(5);
        row.as_object_mut().unwrap().extend(last.as_object().unwrap().clone());
        scene.write("rows.jsonl", format!("{plain}{row}\n"));
    };
    let train = format!(
        "train --model {MODEL} --data rows.jsonl --eval-share 0 --batch-size 2 --micro-batch-size 2 \
                         --max-steps 1 --warmup-steps 0 --n-samples 0"
    );
    rows(json!({"margin": 0.5}));
    scene.refused(
        &format!("{train} --objective ipo --out ipo --quiet"),
        1,
        &["example 5 of the training data", "margin of 0.5"],
    );
    scene.refused(
        &format!("{train} --objective kto --out kto --quiet"),
        1,
        &["example 5 of the training data", "margins"],
    );
    assert!(!scene.path("ipo/metrics.jsonl").exists() && !scene.path("kto/metrics.jsonl").exists());
    rows(json!({"weight": 2}));
    scene.refused(
        &format!("{train} --objective plackett-luce --out other --quiet"),
        1,
        &["example 5", "weights of records"],
    );
    rows(json!({"soft_label": 0.75}));
    let said = scene.done(&format!("{train} --objective kto --out soft"));
    assert!(said.err.contains("1 records have a soft label below 1"), "{}", said.err);
    let said = scene.done(&format!("{train} --out dpo"));
    assert!(!said.err.contains("soft label below 1"), "{}", said.err);
}
