//! `credit`: per-token rewards against what `score` says, and measures against what is written.
use serde_json::Value;

use super::images::copy_golden;
use super::{MODEL, Scene};

/// Answers with wrong spans, one without any, one of which nothing is known, and a pair.
const ANSWERS: &str = r#"{"prompt":"POST: my dog is 3\n\nTL;DR:","response":" my dog is 4","spans":[[11,12]]}
{"prompt":"POST: née in ohio\n\nTL;DR:","response":" née in utah","spans":[[8,12]]}
{"prompt":"POST: we owe 50\n\nTL;DR:","response":" owe 50","spans":[]}
{"prompt":"POST: i am late\n\nTL;DR:","completion":" late"}
{"prompt":"POST: rent is 700\n\nTL;DR:","chosen":" rent is 700","rejected":" rent is 70","spans":[[9,11]]}
"#;

const MODELS: &str = "--model builtin:tldr --reference builtin:tldr-untrained";

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("answers.jsonl", ANSWERS);
    scene
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn is_close(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs()))
}

#[test]
fn the_reward_of_a_token_is_beta_times_the_log_ratio_that_score_gives() {
    let scene = scene();
    scene.done(&format!("credit {MODELS} --beta 0.5 --data pairs.jsonl --out credit.jsonl --quiet"));
    let scored = lines(&scene.done(&format!("score {MODELS} --beta 0.5 --data pairs.jsonl --quiet")).out);
    let credited = lines(&scene.read("credit.jsonl"));
    assert_eq!(credited.len(), 2 * scored.len());
    for (at, line) in credited.iter().enumerate() {
        let side = ["chosen", "rejected"][at % 2];
        let scored = &scored[at / 2][side];
        assert_eq!((&line["index"], &line["side"]), (&Value::from(at / 2), &Value::from(side)));
        assert_eq!(line["tokens"], scored["tokens"]);
        let [policy, reference] = ["log_probs", "reference_log_probs"].map(|name| numbers(&scored[name]));
        assert!(is_close(&numbers(&line["policy"]), &policy) && is_close(&numbers(&line["reference"]), &reference));
        let ratio: Vec<f64> = policy.iter().zip(&reference).map(|(p, r)| 0.5 * (p - r)).collect();
        assert!(is_close(&numbers(&line["log_ratio"]), &ratio), "{line}");
        // Eq. 10: the log-ratio is the reward and the difference of values.
        let parts: Vec<f64> =
            numbers(&line["bellman"]).iter().zip(numbers(&line["value"])).map(|(r, v)| r + v).collect();
        assert!(is_close(&parts, &ratio), "{line}");
        assert!(line["wrong"].is_null() && line["reward_model"].is_null(), "{line}");
    }
    // The answers of a prompt begin in one state, where the value is the same: their sums of differences, too.
    let sum = |line: &Value| numbers(&line["value"]).iter().sum::<f64>();
    assert!(credited.chunks(2).all(|pair| (sum(&pair[0]) - sum(&pair[1])).abs() < 1e-3));
}

#[test]
fn a_model_that_is_its_own_reference_is_said_to_be_so() {
    let scene = scene();
    let hint = "every reward is 0: --model and --reference are the same policy; name as --reference the model before";
    let said = scene.done("credit --model builtin:tldr --reference builtin:tldr --data answers.jsonl");
    assert!(said.err.contains(hint), "{}", said.err);
    let said = scene.done(&format!("credit {MODELS} --data answers.jsonl"));
    assert!(!said.err.contains("every reward is 0"), "{}", said.err);
}

#[test]
fn spans_are_held_against_tokens_and_measured() {
    let scene = scene();
    let said = scene.done(&format!("credit {MODELS} --data answers.jsonl --out credit.jsonl --quiet"));
    let lines = lines(&scene.read("credit.jsonl"));
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[3]["wrong"], Value::Null);
    assert!(lines[2]["wrong"].as_array().unwrap().iter().all(|wrong| wrong == false));
    assert_eq!(lines[4]["spans"], Value::Null);
    let (mut wrong, mut right) = (Vec::new(), Vec::new());
    let mut hits = 0.0;
    for line in [&lines[0], &lines[1], &lines[5]] {
        let credit = numbers(&line["log_ratio"]);
        let span = &line["spans"][0];
        let offsets: Vec<Vec<f64>> = line["offsets"].as_array().unwrap().iter().map(numbers).collect();
        let text: Vec<char> = line["text"].as_str().unwrap().chars().collect();
        // The end token covers nothing, and is not counted.
        assert_eq!(offsets.last().unwrap()[..], [text.len() as f64; 2]);
        let tokens = offsets.len() - 1;
        let mut least = (f64::INFINITY, false);
        for at in 0..tokens {
            // No token here has white space in front and a wrong character before it.
            let is_wrong = offsets[at][1] > span[0].as_f64().unwrap() && offsets[at][0] < span[1].as_f64().unwrap();
            assert_eq!(line["wrong"][at], is_wrong, "{line}");
            let of_its_kind = if is_wrong { &mut wrong } else { &mut right };
            of_its_kind.push(credit[at]);
            least = if credit[at] < least.0 { (credit[at], is_wrong) } else { least };
        }
        assert_eq!(line["wrong"][tokens], false);
        hits += f64::from(u8::from(least.1)) / 3.0;
    }
    let won: f64 = wrong.iter().flat_map(|w| right.iter().map(move |r| f64::from(u8::from(w < r)))).sum();
    let auroc = won / (wrong.len() * right.len()) as f64;
    let row = said.out.lines().find(|line| line.starts_with("log-ratio (Eq. 11)")).unwrap();
    assert!(row.contains(&format!("{auroc:.3} (")) && row.contains(&format!("{hits:.3} (")), "{row} {auroc} {hits}");
    let counts =
        format!("answers with wrong spans: 3; wrong tokens: {} of {};", wrong.len(), wrong.len() + right.len());
    assert!(said.out.contains(&counts), "{}", said.out);
}

#[test]
fn what_is_shown_has_no_colours_where_no_terminal_is_and_the_page_is_one_file() {
    let scene = scene();
    let arguments = format!("credit {MODELS} --data answers.jsonl --html credit.html --show-answers 1 --quiet");
    let said = scene.done(&arguments);
    assert!(!said.out.contains('\u{1b}'), "{}", said.out);
    assert!(said.out.starts_with("answers.jsonl, line 1, response:\n my("), "{}", said.out);
    assert!(said.out.contains(")! <end>(") && !said.out.contains("line 2"), "{}", said.out);
    let page = scene.read("credit.html");
    assert!(page.starts_with("<!doctype html>") && page.contains("line 5, rejected"), "{page}");
    assert!(!page.contains("://") && !page.contains("<script") && page.contains("color-scheme: light dark"), "{page}");
    assert_eq!(page.matches("class=\"heat c0\"").count(), 6);
    // The same again: the same to the letter, and another seed has another untrained model.
    assert_eq!(scene.done(&arguments).out, said.out);
    assert_ne!(scene.done(&format!("{arguments} --seed 1")).out, said.out);
}

#[test]
fn the_embedded_problem_knows_its_wrong_facts() {
    let scene = scene();
    let said = scene.done(&format!("credit {MODELS} --data builtin:tldr --limit 6 --out credit.jsonl --quiet"));
    let lines = lines(&scene.read("credit.jsonl"));
    assert_eq!(lines.len(), 12);
    assert!(lines.iter().all(|line| line["side"] == "rejected" || line["spans"] == serde_json::json!([])));
    let n = lines.iter().filter(|line| !line["spans"].as_array().unwrap().is_empty()).count();
    assert!(n > 0 && said.out.contains(&format!("answers with wrong spans: {n};")), "{}", said.out);
}

#[test]
fn a_reward_model_is_asked_for_every_beginning() {
    let scene = scene();
    copy_golden(&scene, "rewards/llama", "reward");
    scene.write("short.jsonl", r#"{"prompt":"a dog","response":" good red","spans":[[6,9]]}"#);
    let said =
        scene.done(&format!("credit {MODELS} --data short.jsonl --reward-model reward --out credit.jsonl --quiet"));
    assert!(said.out.contains("reward model difference"), "{}", said.out);
    let line = &lines(&scene.read("credit.jsonl"))[0];
    let differences = numbers(&line["reward_model"]);
    assert_eq!(differences.len(), line["tokens"].as_array().unwrap().len());
    // Nothing is added behind the text.
    assert_eq!(differences.last(), Some(&0.0));
    assert!(differences.iter().any(|difference| *difference != 0.0), "{line}");
}

#[test]
fn what_makes_no_sense_is_one_message_and_no_file() {
    let scene = scene();
    copy_golden(&scene, "causal/llama_tied", "other");
    copy_golden(&scene, "rewards/clip", "clip");
    scene.write("outside.jsonl", ANSWERS.replace("[[8,12]]", "[[8,13]]"));
    scene.write("typed.jsonl", ANSWERS.replace("[[8,12]]", "[[8,\"12\"]]"));
    scene.write("listed.jsonl", ANSWERS.replace("[[8,12]]", "[8,12]"));
    let to = "--out new.jsonl --html new.html";
    for (arguments, code, says) in [
        (format!("{MODELS} --data outside.jsonl"), 1, &["outside.jsonl, line 2", "`spans[0]`", "12 characters"][..]),
        (format!("{MODELS} --data typed.jsonl"), 1, &["typed.jsonl, line 2", "`spans[0]`", "[start, end]"]),
        (format!("{MODELS} --data listed.jsonl"), 1, &["listed.jsonl, line 2", "`spans[0]` is 8"]),
        (format!("--model {MODEL} --data answers.jsonl"), 2, &["--reference", "before it learned"]),
        ("--reference builtin:tldr --data answers.jsonl".to_owned(), 2, &["--model"]),
        (MODELS.to_owned(), 2, &["--data"]),
        ("--model builtin:tldr --reference other --data answers.jsonl".to_owned(), 1, &["other", "vocabulary"]),
        (format!("{MODELS} --data answers.jsonl --reward-model clip"), 2, &["--reward-model", "clip"]),
        (format!("{MODELS} --data answers.jsonl --beta 0"), 2, &["--beta"]),
        (format!("{MODELS} --data answers.jsonl --limit 0"), 2, &["--limit"]),
        (format!("{MODELS} --data builtin:nothing"), 2, &["builtin:nothing", "builtin:tldr"]),
        (format!("{MODELS} --data nowhere.jsonl"), 1, &["nowhere.jsonl"]),
    ] {
        scene.refused(&format!("credit {arguments} {to} --quiet"), code, says);
        assert!(!scene.path("new.jsonl").exists() && !scene.path("new.html").exists(), "{arguments}");
    }
    scene.refused(
        &format!("credit {MODELS} --data answers.jsonl --html ./new.jsonl --out new.jsonl"),
        2,
        &["--out and --html are both ./new.jsonl"],
    );
    scene.refused(
        &format!("credit {MODELS} --data answers.jsonl --html no/page.html --out new.jsonl"),
        1,
        &["no/page"],
    );
    assert!(!scene.path("new.jsonl").exists());
}
