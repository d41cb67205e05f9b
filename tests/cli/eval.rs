//! `eval`, and the summary at the end of `score`.
use serde_json::Value;

use super::{MODEL, Scene, training};

fn json(scene: &Scene, arguments: &str) -> Value {
    serde_json::from_str(&scene.done(&format!("{arguments} --json --quiet")).out).unwrap()
}

#[test]
fn a_run_is_measured_beside_what_it_began_with() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 4 --beta 0.4 --max-length 100"));
    scene.write("other.jsonl", scene.read("pairs.jsonl"));
    let found = json(&scene, "eval --model run --data other.jsonl");
    assert_eq!((&found["reference"], &found["beta"], &found["examples"]), (&MODEL.into(), &0.4.into(), &8.into()));
    // The same numbers as those of `score`, whose lines they are of.
    scene.done(&format!("score --model run --reference {MODEL} --data other.jsonl --beta 0.4 --out scores --quiet"));
    let lines: Vec<Value> = scene.read("scores").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let margins: Vec<f64> = lines.iter().map(|line| line["margin"].as_f64().unwrap()).collect();
    let measure = |name: &str| found["measures"][name].clone();
    let close = |value: &Value, expected: f64| assert!((value.as_f64().unwrap() - expected).abs() < 1e-9, "{found:#}");
    close(&measure("rewards/margins")["value"], margins.iter().sum::<f64>() / 8.0);
    close(&measure("rewards/accuracies")["value"], margins.iter().filter(|margin| **margin > 0.0).count() as f64 / 8.0);
    let sum = |side: &str| -> (f64, f64) {
        let numbers = lines.iter().flat_map(|line| line[side]["log_probs"].as_array().unwrap());
        numbers.fold((0.0, 0.0), |(sum, n), number| (sum - number.as_f64().unwrap(), n + 1.0))
    };
    for side in ["chosen", "rejected"] {
        let (nll, n) = sum(side);
        close(&measure(&format!("perplexity/{side}"))["value"], (nll / n).exp());
    }
    let kl = measure("divergence");
    assert!(kl["value"].as_f64().unwrap() > 0.0 && kl["low"].as_f64() <= kl["value"].as_f64(), "{kl}");
    let accuracy = measure("rewards/accuracies");
    assert!(accuracy["low"].as_f64() < accuracy["value"].as_f64(), "{accuracy}");
    assert_eq!(found, json(&scene, "eval --model run --data other.jsonl"));
}

#[test]
fn the_table_fits_a_terminal_and_a_file_gets_the_json() {
    let scene = Scene::new();
    let arguments = format!("eval --model {MODEL} --reference {MODEL} --data pairs.jsonl --out measured.json --quiet");
    let table = scene.done(&arguments).out;
    assert!(table.contains("accuracy (margin > 0)               0.5000"), "{table}");
    assert!(table.contains("\nties ") && table.lines().all(|line| line.len() <= 80), "{table}");
    let found: Value = serde_json::from_str(&scene.read("measured.json")).unwrap();
    assert_eq!((&found["ties"], &found["measures"]["divergence"]["value"]), (&8.into(), &0.0.into()));
}

#[test]
fn score_ends_with_the_same_summary_beside_its_lines() {
    let scene = Scene::new();
    let ran = scene.done(&format!("score --model {MODEL} --reference {MODEL} --data pairs.jsonl"));
    assert_eq!(ran.out.lines().count(), 8);
    assert!(ran.err.contains("accuracy (margin > 0)") && ran.err.contains("perplexity, chosen"), "{}", ran.err);
    let quiet = scene.done(&format!("score --model {MODEL} --data pairs.jsonl --quiet"));
    assert_eq!(quiet.err, "");
}

#[test]
fn data_that_the_run_has_seen_is_said() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 1"));
    let ran = scene.done("eval --model run --data pairs.jsonl");
    assert!(ran.err.contains("run has learned from pairs.jsonl"), "{}", ran.err);
    assert!(ran.err.contains(&format!("--reference {MODEL}, which run came from")), "{}", ran.err);
}

#[test]
fn of_a_folder_with_parts_the_held_out_one_is_measured() {
    let scene = Scene::new();
    let pairs = scene.read("pairs.jsonl");
    let (train, test): (Vec<&str>, Vec<&str>) = (pairs.lines().take(5).collect(), pairs.lines().skip(5).collect());
    scene.write("parts/train.jsonl", train.join("\n"));
    scene.write("parts/test.jsonl", test.join("\n"));
    for (more, examples) in [("", 3), ("--split train", 5), ("--split all", 8), ("--limit 2", 2)] {
        let found = json(&scene, &format!("eval --model {MODEL} --data parts {more}"));
        assert_eq!(found["examples"], examples, "{more}");
    }
}

#[test]
fn pictures_and_hybrids_are_measured_too() {
    let scene = Scene::new();
    let found = json(&scene, "eval --mdp diffusion --model builtin:shapes --data builtin:shapes --limit 6");
    assert_eq!(found["measures"]["accuracies/errors"]["examples"], 6);
    assert!(found["measures"]["rewards/accuracies"].is_null());
    let sized = "--mdp diffusion --model builtin:shapes --reference builtin:shapes-untrained";
    let found = json(&scene, &format!("eval {sized} --data builtin:shapes --limit 6"));
    assert!(found["measures"]["rewards/margins"]["value"].is_number() && found["beta"] == 2000.0);
    scene.done("sample --mdp hybrid --limit-prompts 6 --sample-steps 2 --pairs both --quiet");
    scene.done("judge --pairs both");
    let halves = "--refiner builtin:chimera-refiner --generator builtin:chimera-generator";
    let reference = "--generator-reference builtin:chimera-generator";
    let found = json(&scene, &format!("eval --mdp hybrid {halves} {reference} --data both"));
    assert!(found["measures"]["perplexity/chosen"]["value"].as_f64().unwrap() > 1.0, "{found:#}");
    assert_eq!(found["measures"]["accuracies/refiner"]["value"], 0.5);
}

#[test]
fn what_eval_needs_and_does_not_read() {
    let scene = Scene::new();
    for (arguments, code, says) in [
        ("eval --data pairs.jsonl", 2, "eval needs --model"),
        ("eval --model builtin:tldr", 2, "eval needs --data"),
        ("eval --model builtin:tldr --data pairs.jsonl --beta 0.2", 2, "--beta goes with a reference"),
        ("eval --model builtin:tldr --data missing.jsonl", 1, "missing.jsonl"),
        ("eval --model builtin:tldr --data pairs.jsonl --out no/such/file", 1, "no/such/file"),
        ("eval --model builtin:tldr --data pairs.jsonl --lora-rank 4", 2, "--lora-rank"),
    ] {
        if arguments.contains("--lora-rank") {
            assert_eq!(scene.run(arguments).code, Some(code));
        } else {
            scene.refused(arguments, code, &[says]);
        }
    }
}
