//! Runs that nothing ends but their end: closed pipes, hang-ups, other folders, more epochs.
use std::process::{Command, Stdio};

use super::resume::wait_for_lines;
use super::{MODEL, Ran, Scene, ran, training};

/// Twelve steps over three epochs, saved as usual.
const USUAL: &str = "--batch-size 2 --epochs 3 --eval-data pairs.jsonl --eval-every 5";

/// A short run that says what it does.
fn heard(out: &str, more: &str) -> String {
    training(out, more).replace("--quiet ", "")
}

fn checkpoints(scene: &Scene, run: &str) -> Vec<String> {
    let entries = std::fs::read_dir(scene.path(run).join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("step-"));
    names.sort_by_key(|name| name[5..].parse::<usize>().unwrap());
    names
}

#[test]
fn a_run_that_nobody_listens_to_goes_on() {
    let scene = Scene::new();
    let mut child = scene.command(&heard("run", USUAL)).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(scene.path("run/model/model.safetensors").is_file());
}

#[test]
#[cfg(target_os = "linux")]
fn results_that_do_not_fit_on_the_disk_are_an_error() {
    let scene = Scene::new();
    for words in ["score --model MODEL --data pairs.jsonl", "inspect MODEL"] {
        let mut command = scene.command(&words.replace("MODEL", MODEL));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}: {said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains("No space left"), "{words}: {said}");
    }
}

/// Starts the program with a signal ignored, as `nohup` does with a hang-up and scripts with the interrupts of background
/// jobs, and sends it.
#[cfg(unix)]
fn ignoring(scene: &Scene, run: &str, signal: &str) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' {signal}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_hybrid-dpo")]);
    command.args(training(run, USUAL).split_whitespace()).current_dir(scene.folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_for_lines(scene, run, 2, &mut child);
    Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    ran(&child.wait_with_output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    let scene = Scene::new();
    for signal in ["HUP", "INT"] {
        let run = format!("run-{signal}");
        let ran = ignoring(&scene, &run, signal);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{signal}");
        assert!(scene.path(&run).join("model").is_dir());
    }
}

#[test]
fn a_run_is_saved_at_evaluations_and_the_best_is_kept_apart() {
    let scene = Scene::new();
    let said = scene.done(&training("run", USUAL)).out;
    assert_eq!(checkpoints(&scene, "run"), ["step-10", "step-12"], "the newest two");
    assert!(said.contains("best         run/best (loss 0."), "{said}");
    scene.done("score --model run/best --data pairs.jsonl --out scores.jsonl --quiet");
    let best: serde_json::Value = serde_json::from_str(&scene.read("run/best/evaluation.json")).unwrap();
    let evaluations: Vec<f64> = scene
        .metrics("run")
        .iter()
        .filter(|line| line["split"] == "eval" && line["step"] != 0)
        .map(|line| line["loss"].as_f64().unwrap())
        .collect();
    assert_eq!(best["loss"].as_f64().unwrap(), evaluations.iter().copied().fold(f64::INFINITY, f64::min));
    scene.done(&training("bare", &format!("{USUAL} --save-every 0 --best-metric none")));
    assert_eq!(checkpoints(&scene, "bare"), ["step-12"]);
    assert!(!scene.path("bare/best").exists());
    assert_eq!(scene.metrics("run"), scene.metrics("bare"), "saving changes no number");
    let wrong = format!("{USUAL} --best-metric accuracy");
    let says = ["--best-metric takes a metric", "`accuracy` is none; the nearest is", "rewards/accuracies"];
    scene.refused(&training("wrong", &wrong), 2, &says);
    assert!(!scene.path("wrong").exists());
    scene.refused(&training("new", "--save-every 2 --save-minutes 1"), 2, &["--save-minutes", "--save-every"]);
}

#[test]
fn a_killed_run_says_where_it_goes_on() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 2"));
    let metrics = scene.metrics("run");
    // As if it had been killed before its first checkpoint.
    for name in ["model", "checkpoints/step-2"] {
        std::fs::remove_dir_all(scene.path("run").join(name)).unwrap();
    }
    std::fs::remove_file(scene.path("run/report/summary.json")).unwrap();
    let said = scene.done("train --resume run").err;
    assert!(said.contains("run has no checkpoint yet: the run starts over"), "{said}");
    assert_eq!(scene.metrics("run"), metrics);
    // And as if it had been killed after its last checkpoint, before its model was written.
    std::fs::remove_dir_all(scene.path("run/model")).unwrap();
    std::fs::remove_file(scene.path("run/report/summary.json")).unwrap();
    let said = scene.done("train --resume run").err;
    assert!(said.contains("run goes on after step 2"), "{said}");
    assert!(scene.path("run/model").is_dir());
    assert_eq!(scene.metrics("run"), metrics);
}

#[test]
fn more_epochs_are_those_of_a_longer_run() {
    let scene = Scene::new();
    let more = "--batch-size 2 --eval-data pairs.jsonl --optimizer adamw --ema 0.9 --reference-cache numbers.cache";
    scene.done(&training("whole", &format!("{more} --epochs 3")));
    scene.done(&training("run", &format!("{more} --epochs 1")));
    // Lengths by which no step is missing; of both, the earlier end counts.
    for length in ["--epochs 1", "--max-steps 4", "--epochs 1 --max-steps 100", "--epochs 1 --dry-run"] {
        let finished = scene.done(&format!("train --resume run {length}"));
        assert!(finished.out.contains("has finished: 4 steps"), "{length}: {finished:?}");
    }
    scene.refused("train --resume run --max-steps 3 --quiet", 2, &["has done 4 steps"]);
    let longer = scene.done("train --resume run --epochs 3 --max-steps 100");
    for part in [
        "goes on after step 4",
        "12 steps now, 4 before (--epochs from 1 to 3, --max-steps from not set to 100)",
        "no warm-up, and the learning rate is constant after it",
    ] {
        assert!(longer.err.contains(part), "{}", longer.err);
    }
    let row = longer.out.lines().find(|line| line.starts_with("reward accuracy")).unwrap();
    assert!(row.contains("all tied") && !row.contains(" - "), "the start is in the table: {}", longer.out);
    for name in ["loss", "grad_norm", "lr", "num_tokens"] {
        assert_eq!(scene.column("whole", name), scene.column("run", name), "{name}");
    }
    assert!(scene.bytes("whole/model/model.safetensors") == scene.bytes("run/model/model.safetensors"));
    let config = |run: &str| scene.read(&format!("{run}/config.toml")).replace(&format!("\"{run}\""), "\"\"");
    assert_eq!(config("whole"), config("run").replace("max_steps = 100\n", ""));
    let said = scene.done("train --resume run --max-steps 14").err;
    assert!(
        said.contains("14 steps now, 12 before (--epochs from 3 to not set, --max-steps from 100 to 14)"),
        "{said}"
    );
}

#[test]
fn a_schedule_that_ends_at_0_is_stretched_and_says_so() {
    let scene = Scene::new();
    scene.done(&training("run", "--schedule linear --max-steps 2"));
    let rates = scene.column("run", "lr");
    let said = scene.done("train --resume run --max-steps 4").err;
    assert!(said.contains("linear schedule is stretched") && said.contains("5.000e-4"), "{said}");
    assert_eq!(scene.column("run", "lr"), [rates[0], rates[1], 5e-4, 2.5e-4]);
}

#[test]
fn a_run_finds_its_files_from_everywhere() {
    let scene = Scene::new();
    scene.done(&training("runs/first", "--batch-size 2 --max-steps 2 --reference-cache numbers.cache"));
    scene.done(&training("longer", "--batch-size 2 --max-steps 4"));
    std::fs::create_dir(scene.path("elsewhere")).unwrap();
    let mut command = scene.command("train --resume ../runs/first --max-steps 4 --quiet");
    let ran = ran(&command.current_dir(scene.path("elsewhere")).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(scene.column("runs/first", "loss"), scene.column("longer", "loss"));
    assert!(scene.read("runs/first/config.toml").contains("data = \"pairs.jsonl\""));
    assert_eq!(std::fs::read_dir(scene.path("elsewhere")).unwrap().count(), 0);
    // A place that tells nothing about the start: the paths are absolute.
    let out = scene.path("absolute").display().to_string();
    scene.done(&training(&out, "--max-steps 1"));
    let data = scene.path("pairs.jsonl").canonicalize().unwrap();
    assert!(scene.read("absolute/config.toml").contains(&data.display().to_string()));
}

#[test]
fn a_folder_that_is_taken_is_refused_before_anything_is_read() {
    let scene = Scene::new();
    scene.write("taken/mine.txt", "x");
    scene.refused("train --model nowhere --data nowhere --out taken", 1, &["taken", "exists and is not empty"]);
}

#[test]
fn a_dry_run_says_the_plan_and_writes_nothing() {
    let scene = Scene::new();
    let plan = scene.done(&training("run", &format!("{USUAL} --dry-run"))).out;
    for part in [
        "examples      8, 8 held out",
        "steps         12 of 2 examples (3 epochs), evaluated every 5",
        "learning rate 1e-3, no warm-up, then constant",
        "beta          0.1 a nat of log-ratio",
        "disk          about ",
        "time          about ",
    ] {
        assert!(plan.contains(part), "{plan}");
    }
    assert!(plan.lines().all(|line| line.len() < 80), "{plan}");
    assert!(!scene.path("run").exists() && scene.unfinished().is_empty());
    assert_eq!(std::fs::read_dir(scene.folder.path()).unwrap().count(), 1);
    // A run that is planned aloud computes what a quiet one does.
    let said = scene.done(&heard("aloud", USUAL)).err;
    assert!(said.contains("steps         12 of 2 examples"), "{said}");
    assert!(said.contains("accuracy all 8 tied"), "{said}");
    scene.done(&training("quiet", USUAL));
    assert_eq!(scene.metrics("aloud"), scene.metrics("quiet"));
    assert!(scene.bytes("aloud/model/model.safetensors") == scene.bytes("quiet/model/model.safetensors"));
}

#[test]
fn a_warm_up_longer_than_the_run_is_a_tenth_of_it_unless_it_is_typed() {
    let scene = Scene::new();
    let short =
        format!("train --model {MODEL} --data pairs.jsonl --eval-share 0 --n-samples 0 --batch-size 1 --epochs 3");
    let said = scene.done(&format!("{short} --out run")).err;
    assert!(said.contains("the warm-up has 2 steps instead of 150"), "{said}");
    assert!(scene.read("run/config.toml").contains("warmup_steps = 2\n"));
    let rates = scene.column("run", "lr");
    assert!(rates[1] < rates[2] && rates[2] == rates[23], "{rates:?}");
    let said = scene.done("train --resume run --epochs 4").err;
    assert!(said.contains("the warm-up stays the 2 steps that the run began with"), "{said}");
    assert!(scene.read("run/config.toml").contains("warmup_steps = 2\n"));
    for (out, more) in [("typed", ""), ("planned", "--dry-run")] {
        let said = scene.done(&format!("{short} --out {out} --warmup-steps 150 {more}")).err;
        assert!(said.contains("fewer than the 151") && !said.contains("instead of"), "{said}");
    }
}

#[test]
fn evaluations_that_stop_improving_end_a_run() {
    let scene = Scene::new();
    // Steps too small to change a weight: every comparison stays a tie.
    let still = "--batch-size 2 --epochs 3 --eval-data pairs.jsonl --eval-every 1 --lr 1e-30 --optimizer sgd \
                 --best-metric rewards/accuracies --early-stopping-patience 2";
    let said = scene.done(&training("run", still)).out;
    assert!(said.contains("ended early  after 3 steps"), "{said}");
    assert_eq!(scene.column("run", "loss").len(), 3);
    assert!(scene.done("train --resume run").out.contains("has finished: 3 steps"));
    scene.refused(&training("new", "--early-stopping-patience 2"), 2, &["--early-stopping-patience"]);
}

#[test]
fn the_number_of_threads_changes_no_number_and_may_differ_when_a_run_goes_on() {
    let scene = Scene::new();
    for threads in [1, 2, 3] {
        let usual = format!("{USUAL} --optimizer adamw --threads {threads}");
        scene.done(&training(&format!("run-{threads}"), &usual));
        assert_eq!(scene.metrics("run-1"), scene.metrics(&format!("run-{threads}")));
        let weights = |threads: usize| scene.bytes(&format!("run-{threads}/model/model.safetensors"));
        assert!(weights(1) == weights(threads), "{threads} threads");
    }
    scene.done(&training(
        "run",
        &format!("{} --optimizer adamw --threads 1", USUAL.replace("--epochs 3", "--epochs 1")),
    ));
    scene.done("train --resume run --epochs 3 --threads 2 --save-every 1 --keep-checkpoints 3 --quiet");
    assert_eq!(checkpoints(&scene, "run"), ["step-10", "step-11", "step-12"]);
    assert!(scene.bytes("run/model/model.safetensors") == scene.bytes("run-1/model/model.safetensors"));
    scene.done("train --resume run --max-steps 14 --save-minutes 9 --quiet");
    for changing in ["--micro-batch-size 2", "--seed 1", "--eval-every 1"] {
        let says = ["can't be given with --resume", "--threads", "--keep-checkpoints"];
        scene.refused(&format!("train --resume run {changing}"), 2, &says);
    }
    scene.refused("train --resume run --threads 0", 2, &["--threads takes 1 to 1024"]);
}

#[test]
fn runs_without_a_name_are_called_by_their_modality() {
    let scene = Scene::new();
    scene.done(&training("x", "--max-steps 1").replace("--out x ", ""));
    assert!(scene.path("runs/token-dpo-1/model").is_dir());
}

#[test]
fn a_folders_own_test_part_is_what_a_run_is_evaluated_on() {
    let scene = Scene::new();
    let lines: Vec<&str> = super::PAIRS.lines().collect();
    scene.write("snapshot/data/train-00000-of-00001.jsonl", lines[..5].join("\n"));
    scene.write("snapshot/data/test-00000-of-00001.jsonl", lines[5..].join("\n"));
    let run = |out: &str, more: &str| {
        let arguments =
            format!("train --model {MODEL} --data snapshot --n-samples 0 --batch-size 5 --out {out} {more}");
        scene.done(&arguments).err
    };
    let said = run("run", "");
    assert!(said.contains("its own part test is held out"), "{said}");
    assert!(said.contains("5 training examples, 3 held out"), "{said}");
    assert!(run("named", "--eval-data snapshot").contains("5 training examples, 3 held out"));
    assert_eq!(scene.metrics("run"), scene.metrics("named"));
}
