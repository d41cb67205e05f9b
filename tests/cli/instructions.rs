//! Files of other programs' formats, from the file to a trained model: ShareGPT, Alpaca, neutral sides with a winner.
use super::{MODEL, Scene, training};

const TEMPLATE: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
                        {% if add_generation_prompt %}<assistant>{% endif %}";

/// What the model is given and scored on of a file's record, as `inspect` shows it, without the marks between tokens.
fn shown(scene: &Scene, file: &str, record: usize, more: &str) -> Vec<String> {
    let text = scene.done(&format!("inspect {file} --model {MODEL} --show {} {more}", record + 1)).out;
    let record = text.split(&format!("record {record}\n")).nth(1).unwrap().split("\n\n").next().unwrap();
    record.lines().map(|line| line.replace('|', "").replace("<endoftext>", "")).collect()
}

/// Trains on a file; the number of steps that the loss is there for.
fn trained(scene: &Scene, file: &str, more: &str) -> usize {
    let out = format!("run-{}", file.replace('.', "-"));
    scene.done(&training(&out, &format!("--data {file} --max-steps 2 {more}")));
    scene.column(&out, "loss").iter().filter(|loss| loss.is_finite()).count()
}

#[test]
fn sharegpts_conversations_are_demonstrations_and_with_sides_pairs() {
    let scene = Scene::new();
    scene.write("chat.jinja", TEMPLATE);
    let turn = |from: &str, value: &str| format!(r#"{{"from":"{from}","value":"{value}"}}"#);
    let (asked, said, again) = (turn("human", "hi"), turn("gpt", "yes"), turn("human", "why"));
    scene.write(
        "sharegpt.jsonl",
        format!(
            "{{\"id\":\"a\",\"conversations\":[{asked},{said}]}}\n{{\"id\":\"b\",\"conversations\":[{},{asked},{said},{again},{}]}}\n",
            turn("system", "be"),
            turn("gpt", "so")
        ),
    );
    let chat = "--chat-template chat.jinja";
    assert_eq!(shown(&scene, "sharegpt.jsonl", 0, chat)[..2], ["given     <user>hi<assistant>", "answer    yes"]);
    let second = shown(&scene, "sharegpt.jsonl", 1, chat);
    assert_eq!(second[0], "given     <system>be<user>hi<assistant>yes<user>why<assistant>");
    assert_eq!(second[1], "answer    so");
    let audit = scene.done(&format!("inspect sharegpt.jsonl --model {MODEL} {chat}")).out;
    assert!(audit.contains("2 demonstrations") && audit.contains("not read: id (2)"), "{audit}");
    assert_eq!(trained(&scene, "sharegpt.jsonl", &format!("--objective sft {chat}")), 2);
    scene.write(
        "sides.json",
        format!("[{{\"conversations\":[{asked}],\"chosen\":{said},\"rejected\":{}}}]", turn("gpt", "no")),
    );
    let pair = shown(&scene, "sides.json", 0, chat);
    assert_eq!(pair, ["given     <user>hi<assistant>", "chosen    yes", "rejected  no"]);
    assert_eq!(trained(&scene, "sides.json", chat), 2);
}

#[test]
fn alpacas_instructions_are_demonstrations() {
    let scene = Scene::new();
    scene.write(
        "alpaca.json",
        r#"[{"instruction":"add","input":"2 2","output":"4","text":"all of it"},
            {"instruction":"say hi","input":"","output":"hi","text":"all of it"}]"#,
    );
    assert_eq!(shown(&scene, "alpaca.json", 0, "")[..2], ["given     add\\n2 2", "answer    4"]);
    assert_eq!(shown(&scene, "alpaca.json", 1, "")[..2], ["given     say hi", "answer    hi"]);
    let audit = scene.done(&format!("inspect alpaca.json --model {MODEL}")).out;
    assert!(audit.contains("format demonstration; columns: instruction, input, output, text"), "{audit}");
    assert!(audit.contains("not read: text (2)"), "{audit}");
    assert_eq!(trained(&scene, "alpaca.json", "--objective sft"), 2);
    // A preference loss says what it wants instead.
    scene.refused(&training("new", "--data alpaca.json"), 1, &["pairs or ranked answers", "answers to imitate"]);
}

#[test]
fn neutral_sides_with_a_winner_are_pairs() {
    let scene = Scene::new();
    scene.write(
        "sides.jsonl",
        "{\"prompt\":\"hi\",\"response_a\":\"yes\",\"response_b\":\"no\",\"winner\":\"b\"}\n\
         {\"prompt\":\"so\",\"response_a\":\"yes\",\"response_b\":\"no\",\"winner\":\"response_a\"}\n",
    );
    assert_eq!(shown(&scene, "sides.jsonl", 0, ""), ["given     hi", "chosen    no", "rejected  yes"]);
    assert_eq!(shown(&scene, "sides.jsonl", 1, ""), ["given     so", "chosen    yes", "rejected  no"]);
    assert_eq!(trained(&scene, "sides.jsonl", ""), 2);
}
