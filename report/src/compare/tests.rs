use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;

/// A folder as a finished run of a language model leaves it.
fn write_run(folder: &Path, beta: &str, n_steps: usize) {
    for sub in ["checkpoints/step-8", "samples", "report", "model"] {
        fs::create_dir_all(folder.join(sub)).unwrap();
    }
    fs::write(folder.join("config.toml"), format!("[run]\nseed = 0\n[objective]\nbeta = {beta}\n")).unwrap();
    let mut metrics = String::new();
    for step in 0..=n_steps {
        let loss = 0.7 / (1.0 + step as f64);
        if step > 0 {
            let _ = writeln!(
                metrics,
                "{{\"split\":\"train\",\"step\":{step},\"examples\":{},\"loss\":{loss},\"rewards/chosen\":0.1,\
                 \"rewards/rejected\":-0.1,\"grad_norm\":2.0,\"own/number\":1.0,\"pairs_per_second\":4.0}}",
                step * 4
            );
        }
        if step % n_steps == 0 {
            let _ = writeln!(
                metrics,
                "{{\"split\":\"eval\",\"step\":{step},\"examples\":{},\"loss\":{loss},\"rewards/accuracies\":0.75}}",
                step * 4
            );
        }
    }
    fs::write(folder.join("metrics.jsonl"), metrics).unwrap();
    write_report(folder, n_steps);
}

/// What the folder keeps for the page alone, and samples.
fn write_report(folder: &Path, n_steps: usize) {
    let evaluation = |step: usize| {
        format!(
            "{{\"split\":\"eval\",\"step\":{step},\"examples\":8,\"intervals\":{{\"rewards/accuracies\":[0.4,0.9]}},\
             \"histograms\":{{\"rewards/per_token/chosen\":{{\"low\":-1.0,\"high\":1.0,\"counts\":[1,3]}}}}}}\n"
        )
    };
    fs::write(folder.join("report/evaluations.jsonl"), evaluation(0) + &evaluation(n_steps)).unwrap();
    for (step, response) in [(0, "before"), (n_steps, "after <b>")] {
        let line = format!("{{\"prompt\":\"the post\",\"response\":\"{response}\"}}\n");
        fs::write(folder.join(format!("samples/step-{step}.jsonl")), line).unwrap();
        fs::write(folder.join(format!("samples/step-{step}.png")), crate::run::grey(3, 2, &[0, 50, 99, 0, 0, 0]))
            .unwrap();
        let line = "{\"prompt\":\"a cat\",\"caption\":\"a cat: a black <cat>\",\"left\":1,\"top\":0,\"width\":2,\"height\":1}\n";
        fs::write(folder.join(format!("samples/step-{step}.pictures.jsonl")), line).unwrap();
    }
    let rewards = "{\"prompt\":\"held out\",\"side\":\"rejected\",\"text\":\" dog is 4\",\"offsets\":[[0,4],[4,7],[7,9],[9,9]],\
                   \"log_ratio\":[0.1,0.2,-0.5,0.0],\"wrong\":[false,false,true,false]}\n";
    fs::write(folder.join("report/token_rewards.jsonl"), rewards).unwrap();
    let summary = "{\"peak_memory_mb\":512.4,\"table\":\"win rate 0.9\"}";
    fs::write(folder.join("report/summary.json"), summary).unwrap();
}

fn scene() -> tempfile::TempDir {
    let scene = tempfile::tempdir().unwrap();
    write_run(&scene.path().join("first"), "0.1", 8);
    scene
}

fn read(folder: &Path) -> Vec<Run> {
    Run::read(folder).unwrap()
}

#[test]
fn a_page_has_all_that_a_run_holds() {
    let scene = scene();
    let report = compare(&read(&scene.path().join("first")), None).unwrap();
    for part in [
        "<title>Run first</title>",
        "Loss",
        "Implicit rewards",
        "own/number",
        "0.750 (0.400 to 0.900)",
        "Rewards per token, first",
        " <span class=\"less wrong\" style=\"--a:0.75\" title=\"-0.5000\">4</span>",
        "less wrong",
        "the post",
        "after &lt;b&gt;",
        "src=\"data:image/png;base64,iVBORw0KGgo",
        "alt=\"a cat, after step 8\"",
        "<figcaption>a black &lt;cat&gt;</figcaption>",
        "512 MB",
        "win rate 0.9",
        "objective.beta",
        "8.0 s",
    ] {
        assert!(report.html.contains(part), "{part} is not in\n{}", report.html);
    }
    assert!(!report.html.contains("is not finished"));
    let names: Vec<&str> = report.plots.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"loss.svg") && names.contains(&"implicit-rewards.svg"), "{names:?}");
    assert_eq!(report, compare(&read(&scene.path().join("first")), None).unwrap());
}

#[test]
fn ties_before_training_are_no_accuracy_of_0() {
    let scene = scene();
    let run = scene.path().join("first");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let tied = metrics.replacen("\"rewards/accuracies\":0.75", "\"rewards/accuracies\":0.0,\"rewards/margins\":0.0", 1);
    fs::write(run.join("metrics.jsonl"), tied).unwrap();
    let page = compare(&read(&run), None).unwrap().html;
    assert!(
        page.contains("all tied") && page.contains("0.750 (0.400 to 0.900)") && !page.contains("0.000 ("),
        "{page}"
    );
}

#[test]
fn runs_beside_each_other_show_in_what_they_differ() {
    let scene = scene();
    write_run(&scene.path().join("second"), "0.5", 8);
    let runs: Vec<Run> = ["first", "second"].iter().flat_map(|name| read(&scene.path().join(name))).collect();
    let page = compare(&runs, None).unwrap().html;
    let differ = page.split("Settings in which the runs differ<").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(differ.contains("objective.beta") && differ.contains("0.5") && !differ.contains("run.seed"), "{differ}");
    for part in
        ["first train", "second eval", "Implicit rewards: chosen", "first, after step 8", "second, before training"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_reference_run_lies_behind_and_adds_no_plot_of_its_own() {
    let scene = scene();
    let metrics = "{\"split\":\"train\",\"step\":1,\"examples\":4,\"loss\":0.6,\"lr\":0.1}\n";
    let reference = ReferenceRun::parse("reference run", metrics).unwrap();
    let report = compare(&read(&scene.path().join("first")), Some(&reference)).unwrap();
    assert!(report.html.contains("reference run, train"));
    assert!(report.plots.iter().all(|(name, _)| name != "learning-rate.svg"));
}

#[test]
fn an_unfinished_run_is_said_to_be_one() {
    let scene = scene();
    let run = scene.path().join("first");
    fs::remove_dir_all(run.join("model")).unwrap();
    let mut metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    metrics.push_str("{\"split\":\"tr");
    fs::write(run.join("metrics.jsonl"), metrics).unwrap();
    let page = compare(&read(&run), None).unwrap().html;
    assert!(
        page.contains("first is not finished: its last record is of step 8, and its newest checkpoint is of step 8")
    );
    assert!(page.contains("is cut off"));
    // Before its first step a run has but settings.
    for name in ["metrics.jsonl", "report", "samples"] {
        let path = run.join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    let page = compare(&read(&run), None).unwrap().html;
    assert!(page.contains("it has no record yet") && page.contains("objective.beta"));
}

#[test]
fn halves_that_were_trained_alone_and_rounds_are_runs_beside_each_other() {
    let scene = scene();
    let run = scene.path().join("first");
    write_run(&run.join("alone/refiner"), "0.1", 8);
    let names = |folder: &Path| read(folder).iter().map(|run| run.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&run), ["first", "first, refiner alone"]);
    let rounds = scene.path().join("rounds");
    for round in 1..=2 {
        write_run(&rounds.join(format!("round-{round}/run")), "0.1", 4);
    }
    fs::write(rounds.join("config.toml"), "").unwrap();
    assert_eq!(names(&rounds), ["rounds, round 1", "rounds, round 2"]);
}

#[test]
fn damaged_foreign_and_missing_files_are_named() {
    let damage = |name: &str, content: &str| {
        let scene = scene();
        fs::write(scene.path().join("first").join(name), content).unwrap();
        Run::read(&scene.path().join("first")).unwrap_err().to_string()
    };
    for (name, content, says) in [
        ("metrics.jsonl", "{}\n{\"x\"\n", "metrics.jsonl, line 2: is not a JSON object"),
        ("metrics.jsonl", "{}\n", "metrics.jsonl, line 1: `split`"),
        ("config.toml", "[run]\nseed = = 0\n", "config.toml, line 2: "),
        ("samples/step-8.jsonl", "{\"prompt\":\"x\"}\n", "step-8.jsonl, line 1: `response`"),
        ("samples/step-8.png", "GIF89a", "step-8.png: is not a PNG file"),
        ("samples/step-8.pictures.jsonl", "{\"left\":1}\n", "step-8.pictures.jsonl, line 1: `top` is not a count"),
        (
            "samples/step-8.pictures.jsonl",
            "{\"prompt\":\"\",\"caption\":\"\",\"left\":2,\"top\":0,\"width\":2,\"height\":1}\n",
            "line 1: 2 x 1 pixels at 2, 0 are not on the sheet, which has 3 x 2",
        ),
        ("metrics.jsonl", "", "metrics.jsonl: has no records, or is missing, though the run is finished"),
        ("report/evaluations.jsonl", "{\"step\":1}\n", "evaluations.jsonl, line 1: `examples`"),
        ("report/token_rewards.jsonl", "{\"side\":\"x\"}\n", "token_rewards.jsonl, line 1: `log_ratio`"),
        ("report/summary.json", "[", "summary.json: "),
    ] {
        let said = damage(name, content);
        assert!(said.contains(says), "{name}: {said}");
    }
    let scene = scene();
    let said = |folder: &Path| Run::read(folder).unwrap_err().to_string();
    assert!(said(scene.path()).contains("is not a run's folder"));
    assert!(said(&scene.path().join("nowhere")).contains("there is no such folder"));
    assert!(said(&scene.path().join("first/config.toml")).contains("is a file"));
    fs::remove_file(scene.path().join("first/config.toml")).unwrap();
    assert!(said(&scene.path().join("first")).contains("config.toml: there is no such file"));
}
