//! Help, settings and where they come from, `score`, `sample`, `inspect`, completions.
use serde_json::Value;

use super::{MODEL, Scene, training};

#[test]
fn help_names_the_verbs_there_are_and_shows_an_example_of_each() {
    let scene = Scene::new();
    let help = scene.done("--help").out;
    for begins in [
        "train        Learns from preferences (the DPO family) or demonstrations (sft)",
        "score        Writes the log-probability of every token of every answer",
        "sample       Draws answers to prompts",
    ] {
        assert!(help.contains(begins), "{help}");
    }
    let verbs = "train precompute score eval merge export sample search inspect judge label credit report reproduce \
                 completions";
    for verb in verbs.split(' ') {
        assert!(help.contains(&format!("\n  {verb} ")), "{help}");
    }
    for verb in ["train", "precompute", "score", "eval", "sample", "search", "inspect", "credit"] {
        let help = scene.done(&format!("{verb} --help")).out;
        assert!(help.contains("Example") && help.contains(&format!("  hybrid-dpo {verb} ")), "{help}");
        for flag in ["--config", "--set", "--seed", "--device", "--quiet", "--log-format"] {
            assert!(help.contains(flag), "{verb} has no {flag}");
        }
    }
    let help = scene.done("report --help").out;
    for part in
        ["Examples:", "  hybrid-dpo report ", "<RUN>...", "--config", "--set", "--out", "--svg", "--overlay", "--quiet"]
    {
        assert!(help.contains(part), "report has no {part}: {help}");
    }
}

#[test]
fn completions_know_verbs_and_flags() {
    let scene = Scene::new();
    let script = scene.done("completions bash").out;
    assert!(script.contains("HYBRID_DPO_COMPLETE=bash hybrid-dpo"), "{script}");
    // The question that the script asks; `tests/shells` types into real shells.
    let asked = |words: &str, index: &str| {
        let mut command = scene.command(&format!("-- hybrid-dpo {words}"));
        command.env("HYBRID_DPO_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(asked("trai", "1"), "train");
    assert_eq!(asked("train --activ", "2"), "--activation-checkpointing");
    assert_eq!(asked("train --objective apo-z", "3"), "apo-zero");
}

/// A reader that closes the pipe at once, as `| head` does.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scene = Scene::new();
    for arguments in ["completions zsh", "--help", &format!("inspect {MODEL}")] {
        let mut child = scene.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments}");
        assert_eq!(output.status.code(), Some(0), "{arguments}");
    }
}

#[test]
fn wrong_usage_is_2_and_says_what_is_near() {
    let scene = Scene::new();
    let flag = scene.run("train --betta 0.1");
    assert!(flag.code == Some(2) && flag.err.contains("--beta"), "{flag:?}");
    assert_eq!(scene.run("").code, Some(2));
    assert_eq!(scene.run("frobnicate").code, Some(2));
    let out = training("new", "--set objective.btea=1");
    scene.refused(&out, 2, &["unknown key `objective.btea`", "`objective.beta`"]);
}

#[test]
fn flags_win_over_set_and_set_over_the_file() {
    let scene = Scene::new();
    scene.write("mine.toml", "[objective]\nbeta = 0.2\nname = \"ipo\"\n[train]\nmax_steps = 1\nepochs = 3\n");
    scene.done(&training("new", "--config mine.toml --set objective.beta=0.3 --set train.epochs=2 --beta 0.4"));
    let config = scene.read("new/config.toml");
    for line in ["beta = 0.4", "name = \"ipo\"", "max_steps = 1", "epochs = 2", "label_smoothing = 0.1"] {
        assert!(config.lines().any(|l| l == line), "no {line} in\n{config}");
    }
}

#[test]
fn a_runs_config_is_a_config_file() {
    let scene = Scene::new();
    scene.done(&training("first", "--max-steps 2 --objective ipo --beta 0.3 --seed 7"));
    scene.done("train --config first/config.toml --out second");
    assert_eq!(scene.metrics("first"), scene.metrics("second"));
    let (first, second) = (scene.read("first/config.toml"), scene.read("second/config.toml"));
    assert_eq!(first.replace("\"first\"", "\"second\""), second);
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn score_writes_what_is_agreed() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 2"));
    let score =
        format!("score --mdp token --model run --reference {MODEL} --data pairs.jsonl --beta 0.5 --out s.jsonl");
    let ran = scene.done(&score);
    assert_eq!(ran.out, "", "what goes to a file does not go to stdout");
    let text = scene.read("s.jsonl");
    let scored = lines(&text);
    assert_eq!(scored.len(), 8);
    for (index, line) in scored.iter().enumerate() {
        assert_eq!(keys(line), ["index", "prompt_tokens", "chosen", "rejected", "margin"]);
        assert_eq!(line["index"], index);
        let mut margin = 0.0;
        for (side, sign) in [("chosen", 0.5), ("rejected", -0.5)] {
            let side = &line[side];
            assert_eq!(keys(side), ["tokens", "log_probs", "reference_log_probs"]);
            let (own, theirs) = (numbers(&side["log_probs"]), numbers(&side["reference_log_probs"]));
            let tokens = side["tokens"].as_array().unwrap();
            assert_eq!((own.len(), theirs.len()), (tokens.len(), tokens.len()));
            assert_eq!(tokens.last().unwrap(), 0, "EOS is scored");
            assert!(own.iter().chain(&theirs).all(|x| *x < 0.0));
            margin += sign * (own.iter().sum::<f64>() - theirs.iter().sum::<f64>());
        }
        assert!((line["margin"].as_f64().unwrap() - margin).abs() < 1e-9);
        assert!(margin != 0.0, "two steps have moved the policy");
    }
    let alone = scene.done("score --model run --data pairs.jsonl").out;
    let alone = lines(&alone);
    assert_eq!(alone[3]["margin"], Value::Null);
    assert_eq!(alone[3]["chosen"]["reference_log_probs"], Value::Null);
    assert_eq!(alone[3]["chosen"]["log_probs"], scored[3]["chosen"]["log_probs"]);
}

#[test]
fn a_run_and_its_model_folder_are_the_same_model() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 1"));
    let of_run = scene.done("score --model run --data pairs.jsonl").out;
    assert_eq!(scene.done("score --model run/model --data pairs.jsonl").out, of_run);
    assert!(scene.done("inspect run/model").out.contains("llama"));
    assert!(scene.done("inspect run").out.contains("finished      yes"));
}

#[test]
fn scores_do_not_depend_on_what_is_computed_together() {
    let scene = Scene::new();
    let score = |more: &str| lines(&scene.done(&format!("score --model {MODEL} --data pairs.jsonl {more}")).out);
    let (alone, together) = (score("--micro-batch-size 1"), score("--micro-batch-size 8"));
    assert_eq!((alone.len(), together.len()), (8, 8));
    for (a, b) in alone.iter().zip(&together) {
        for side in ["chosen", "rejected"] {
            let (a, b) = (numbers(&a[side]["log_probs"]), numbers(&b[side]["log_probs"]));
            assert!(!a.is_empty() && a.len() == b.len(), "{side}: {a:?} {b:?}");
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }
}

#[test]
fn score_takes_single_answers_too() {
    let scene = Scene::new();
    scene.write("kto.jsonl", "{\"prompt\":\"a\",\"completion\":\" b\",\"label\":true}\n");
    let line = &lines(&scene.done(&format!("score --model {MODEL} --data kto.jsonl")).out)[0];
    assert_eq!(line["label"], true);
    assert_eq!(keys(line), ["index", "prompt_tokens", "completion", "label"]);
}

#[test]
fn samples_are_a_function_of_the_seed() {
    let scene = Scene::new();
    scene.write("prompts.txt", "POST: my dog is 3\n\nPOST: rent is 700\n");
    let sample = |more: &str| {
        let ran = scene.done(&format!("sample --model {MODEL} --prompts prompts.txt --max-length 40 {more}"));
        assert_eq!(ran.err, "", "nobody watches, so there is no bar");
        lines(&ran.out)
    };
    let drawn = sample("--n 3 --seed 5");
    assert_eq!(drawn.len(), 6, "an empty line is no prompt");
    assert_eq!(keys(&drawn[0]), ["prompt", "response", "tokens", "finished"]);
    assert_eq!(drawn, sample("--n 3 --seed 5"));
    let other: Vec<Value> = sample("--n 3 --seed 5 --temperature 0.5 --top-k 3 --top-p 0.9");
    assert_ne!(drawn, other);
    let greedy = sample("--n 2 --temperature 0");
    assert_eq!(greedy[0], greedy[1]);
    scene.done(&format!("sample --model {MODEL} --limit-prompts 1 --max-length 96 --out s.jsonl"));
    assert_eq!(lines(&scene.read("s.jsonl")).len(), 1);
}

#[test]
fn inspect_shows_the_audit_of_data() {
    let scene = Scene::new();
    let text = scene.done(&format!("inspect {MODEL} --data pairs.jsonl --max-length 16")).out;
    assert!(text.contains("8 examples: 8 pairs") && text.contains("limits: 16 tokens together"), "{text}");
}

#[test]
fn data_goes_to_stdout_progress_to_stderr_and_quiet_is_silent() {
    let scene = Scene::new();
    let quiet = scene.done(&training("a", "--max-steps 1"));
    assert_eq!(quiet.err, "");
    assert!(quiet.out.contains("run folder   a") && quiet.out.contains("hybrid-dpo sample --model a"), "{}", quiet.out);
    let loud = scene.done(&training("b", "--max-steps 1").replace("--quiet", ""));
    assert!(loud.err.contains("8 examples: 8 pairs") && loud.err.contains("step 1/1 loss"), "{}", loud.err);
    assert!(!loud.out.contains("step 1/1"));
    let json = scene.done(&training("c", "--max-steps 1 --log-format json").replace("--quiet", ""));
    assert!(lines(&json.err).iter().all(|line| line["message"].is_string()));
}
