//! `report`: the page that training leaves, pages of several runs, and what is refused.
use super::{Scene, training};

/// A short run that holds out and shows samples.
fn run(scene: &Scene, out: &str, more: &str) {
    scene.done(&training(out, &format!("--eval-share 0.3 --n-samples 2 --max-steps 3 {more}")));
}

#[test]
fn training_leaves_a_page_in_the_run_folder() {
    let scene = Scene::new();
    run(&scene, "run", "");
    let page = scene.read("run/report.html");
    for part in [
        "<title>Run run</title>",
        "Loss",
        "Implicit rewards",
        "KL(reference, policy)",
        "Rewards per token, run",
        "Rewards of tokens",
        "Answers before and after",
        "before training",
        "after step 3",
        "objective.beta",
        "at its end",
        "95% intervals",
    ] {
        assert!(page.contains(part), "the page does not have {part}");
    }
    assert!(!page.contains("not finished") && !page.contains("reference run"));
    // Nothing is loaded from anywhere; the names of SVG and XML are no addresses that are asked.
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:") && !elsewhere.contains("url("));
    let details = scene.read("run/report/evaluations.jsonl");
    assert_eq!(details.lines().count(), 2, "{details}");
    let rewards = scene.read("run/report/token_rewards.jsonl");
    assert!(rewards.lines().count() >= 2 && rewards.contains("\"side\":\"rejected\""), "{rewards}");
}

#[test]
fn the_verb_writes_the_same_page_again() {
    let scene = Scene::new();
    run(&scene, "run", "");
    let of_training = scene.read("run/report.html");
    let ran = scene.done("report run");
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("run/report.html\n", ""));
    assert_eq!(scene.read("run/report.html"), of_training);
    scene.done("report run --out page.html --svg plots/all");
    assert_eq!(scene.read("page.html"), of_training);
    let loss = scene.read("plots/all/loss.svg");
    assert!(loss.starts_with("<svg ") && loss.ends_with("</svg>\n"), "{loss}");
}

#[test]
fn token_rewards_add_up_to_the_margin_that_score_gives() {
    let scene = Scene::new();
    run(&scene, "run", "--beta 0.5");
    let sum = |line: &serde_json::Value| -> f64 {
        line["log_ratio"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).sum()
    };
    let parse = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let rewards = parse(&scene.read("run/report/token_rewards.jsonl"));
    let score = format!("score --model run --reference {} --data pairs.jsonl --beta 0.5", super::MODEL);
    let scored = parse(&scene.done(&score).out);
    for pair in rewards.chunks(2) {
        let scored = &scored[pair[0]["index"].as_u64().unwrap() as usize];
        let margin = scored["margin"].as_f64().unwrap();
        assert!((sum(&pair[0]) - sum(&pair[1]) - margin).abs() < 1e-4 * (1.0 + margin.abs()), "{pair:?} {scored}");
        for line in pair {
            let text: Vec<char> = line["text"].as_str().unwrap().chars().collect();
            let last = line["offsets"].as_array().unwrap().last().unwrap();
            assert_eq!(last[1].as_u64().unwrap() as usize, text.len(), "{line}");
        }
    }
}

#[test]
fn runs_are_compared_and_called_apart() {
    let scene = Scene::new();
    run(&scene, "a/run", "--beta 0.1");
    run(&scene, "b/run", "--beta 0.7");
    let ran = scene.done("report a/run b/run");
    assert_eq!(ran.out, "report.html\n");
    let page = scene.read("report.html");
    for part in ["2 runs", "a/run train", "b/run eval", "Settings in which the runs differ", "objective.beta"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn runs_of_an_embedded_problem_have_the_reference_run_behind_them() {
    let scene = Scene::new();
    let short = "--max-steps 2 --batch-size 4 --eval-examples 4 --n-samples 0 --limit 16 --quiet";
    scene.done(&format!("train --mdp token --out run {short}"));
    assert!(scene.read("run/report.html").contains("reference run, eval"));
    scene.done("report run --overlay false");
    assert!(!scene.read("run/report.html").contains("reference run"));
}

#[test]
fn an_unfinished_run_is_reported_as_such() {
    let scene = Scene::new();
    run(&scene, "run", "--save-every 1 --keep-checkpoints 0");
    for name in ["run/model", "run/checkpoints/step-3"] {
        std::fs::remove_dir_all(scene.path(name)).unwrap();
    }
    let metrics = scene.read("run/metrics.jsonl");
    scene.write("run/metrics.jsonl", &metrics[..metrics.len() - 20]);
    scene.done("report run");
    let page = scene.read("run/report.html");
    assert!(page.contains("run is not finished") && page.contains("its newest checkpoint is of step 2"));
    assert!(page.contains("is cut off"));
    // A run goes on as before beside its page, and drops what is after the checkpoint.
    scene.done("train --resume run --quiet");
    assert_eq!(scene.read("run/report/evaluations.jsonl").lines().count(), 2);
    assert!(!scene.read("run/report.html").contains("is not finished"));
}

#[test]
fn what_is_no_run_or_damaged_is_refused_and_nothing_is_written() {
    let scene = Scene::new();
    run(&scene, "run", "");
    std::fs::remove_file(scene.path("run/report.html")).unwrap();
    let refused = |arguments: &str, code: i32, says: &[&str]| {
        scene.refused(arguments, code, says);
        for name in ["run/report.html", "page.html", "plots"] {
            assert!(!scene.path(name).exists(), "{arguments} has written {name}");
        }
    };
    refused("report nowhere --out page.html", 1, &["nowhere: there is no such folder"]);
    refused("report pairs.jsonl --out page.html", 1, &["pairs.jsonl: is a file"]);
    refused("report . --out page.html", 1, &[".: is not a run's folder"]);
    refused("report run run", 2, &["run is named twice"]);
    refused("report run ./run --out page.html", 2, &["./run is named twice"]);
    refused("report run --svg pairs.jsonl --out page.html", 1, &["--svg pairs.jsonl is a file; name a folder"]);
    refused("report run --out missing/page.html --svg plots", 1, &["missing/page.html"]);
    refused("report run --out run --svg plots", 1, &["run: is a folder"]);
    let metrics = scene.read("run/metrics.jsonl");
    scene.write("run/metrics.jsonl", metrics.replacen("\"step\":1", "\"step\":\"one\"", 1));
    refused("report run", 1, &["run/metrics.jsonl, line 2: `step` is not a count"]);
    scene.write("run/metrics.jsonl", metrics.replacen('}', "", 1));
    refused("report run", 1, &["run/metrics.jsonl, line 1: is not a JSON object"]);
    scene.write("run/metrics.jsonl", "");
    refused("report run", 1, &["run/metrics.jsonl: has no records, or is missing"]);
    scene.write("run/metrics.jsonl", &metrics);
    std::fs::remove_file(scene.path("run/config.toml")).unwrap();
    refused("report run", 1, &["run/config.toml: there is no such file"]);
    let usage = scene.run("report");
    assert!(usage.code == Some(2) && usage.err.contains("<RUN>"), "{usage:?}");
}
