//! Runs that are killed, interrupted, finished: all end as if nothing had happened.
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use super::{Ran, Scene, ran, training};

/// Twelve steps over three epochs, the reference's numbers read back from the second on.
const LONG: &str = "--batch-size 2 --epochs 3 --save-every 2 --eval-data pairs.jsonl --eval-every 5";

/// Waits until a run has written so many steps, or has ended.
pub(super) fn wait_for_lines(scene: &Scene, run: &str, n: usize, child: &mut Child) {
    let path = scene.path(run).join("metrics.jsonl");
    while child.try_wait().unwrap().is_none() {
        if std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() >= n) {
            return;
        }
        sleep(Duration::from_millis(2));
    }
}

/// Asserts that two runs left the same numbers, wherever one of them was stopped.
pub(super) fn check_same(scene: &Scene, whole: &str, other: &str, weights: &str) {
    assert_eq!(scene.metrics(whole), scene.metrics(other), "{other}");
    let weights = |run: &str| scene.bytes(&format!("{run}/model/{weights}"));
    assert!(weights(whole) == weights(other), "{other}: other weights");
    assert!(scene.unfinished().is_empty(), "{:?}", scene.unfinished());
}

fn kill_and_resume(more: &str, weights: &str) {
    kill_and_resume_in(&Scene::new(), more, weights);
}

fn kill_and_resume_in(scene: &Scene, more: &str, weights: &str) {
    scene.done(&training("whole", &format!("{LONG} {more}")));
    for n in [1, 4, 9, 13] {
        let run = format!("killed-{n}");
        let mut child = scene.command(&training(&run, &format!("{LONG} {more}"))).spawn().unwrap();
        wait_for_lines(scene, &run, n, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        scene.done(&format!("train --resume {run} --quiet"));
        check_same(scene, "whole", &run, weights);
    }
}

#[test]
fn killed_and_resumed_is_the_same_to_the_bit() {
    kill_and_resume("--optimizer adamw --ema 0.9 --save-dtype bf16", "model.safetensors");
}

#[test]
fn killed_and_resumed_adapters_are_the_same_to_the_bit() {
    kill_and_resume("--objective kto --lora-rank 2 --micro-batch-size 1", "adapter_model.safetensors");
}

#[test]
fn killed_and_resumed_adapters_with_magnitudes_are_the_same_to_the_bit() {
    kill_and_resume("--lora-rank 2 --dora --optimizer adamw", "adapter_model.safetensors");
}

#[test]
fn killed_and_resumed_adapters_that_went_on_are_the_same_to_the_bit() {
    let scene = Scene::new();
    scene.done(&training("first", "--lora-rank 2 --lora-alpha 8 --max-steps 2 --lr 1e-2"));
    kill_and_resume_in(&scene, "--model first --lora-rank 2", "adapter_model.safetensors");
}

#[cfg(target_os = "linux")]
fn interrupt(scene: &Scene, run: &str, signal: &str) -> Ran {
    let mut child = scene.interruptible(&training(run, LONG)).spawn().unwrap();
    wait_for_lines(scene, run, 3, &mut child);
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    ran(&child.wait_with_output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn interrupted_is_130_with_a_checkpoint_and_resumes_to_the_bit() {
    let scene = Scene::new();
    scene.done(&training("whole", LONG));
    for signal in ["-INT", "-TERM"] {
        let run = format!("interrupted{signal}");
        let stopped = interrupt(&scene, &run, signal);
        // A machine that was slow to send the signal may find the run at its end.
        if stopped.code != Some(0) {
            assert_eq!(stopped.code, Some(130), "{stopped:?}");
            assert_eq!(stopped.out, "");
            assert!(stopped.err.contains(&format!("hybrid-dpo train --resume {run}")), "{}", stopped.err);
            assert!(!stopped.err.contains("error: "), "{}", stopped.err);
            assert!(std::fs::read_dir(scene.path(&run).join("checkpoints")).unwrap().count() > 0);
            assert!(!scene.path(&run).join("model").exists());
            scene.refused(&format!("score --model {run} --data pairs.jsonl"), 1, &["has not finished", "--resume"]);
            assert!(scene.done(&format!("inspect {run}")).out.contains("finished      no"));
        }
        scene.done(&format!("train --resume {run} --quiet"));
        check_same(&scene, "whole", &run, "model.safetensors");
    }
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let scene = Scene::new();
    scene.done(&training("run", LONG));
    let (metrics, weights) = (scene.read("run/metrics.jsonl"), scene.bytes("run/model/model.safetensors"));
    let events = || std::fs::read_dir(scene.path("run/tensorboard")).unwrap().count();
    assert_eq!(events(), 1);
    let again = scene.done("train --resume run --quiet");
    assert!(again.out.contains("reward accuracy") && again.out.contains("has finished: 12 steps"), "{}", again.out);
    assert_eq!(events(), 1);
    assert_eq!(scene.read("run/metrics.jsonl"), metrics);
    assert!(scene.bytes("run/model/model.safetensors") == weights);
}

#[test]
fn what_is_no_run_is_not_resumed() {
    let scene = Scene::new();
    scene.refused("train --resume nowhere", 1, &["nowhere", "no such folder"]);
    scene.write("folder/file", "x");
    scene.refused("train --resume folder", 1, &["folder", "not a run's folder"]);
    scene.done(&training("run", "--max-steps 2"));
    scene.refused("train --resume run --lr 3", 2, &["--lr", "--resume"]);
    scene.refused("train --resume run --set objective.beta=3", 2, &["--beta", "--resume"]);
    // As if it had been killed before its end was noted.
    std::fs::remove_file(scene.path("run/report/summary.json")).unwrap();
    scene.write("run/checkpoints/step-2/position.json", "{\"step\":");
    scene.refused("train --resume run --quiet", 1, &["position.json"]);
    scene.write("run/config.toml", "[train\n");
    scene.refused("train --resume run --quiet", 1, &["config.toml, line 1", "broken TOML"]);
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let scene = Scene::new();
    scene.done(&training("run", "--max-steps 2"));
    std::fs::remove_file(scene.path("run/report/summary.json")).unwrap();
    for name in ["weights.safetensors", "optimizer.safetensors"] {
        let path = format!("run/checkpoints/step-2/{name}");
        let whole = scene.bytes(&path);
        scene.write(&path, &whole[..whole.len() / 2]);
        let ran = scene.run("train --resume run --quiet");
        assert!(ran.code == Some(1) && ran.err.contains(name) && !ran.err.contains("panicked"), "{ran:?}");
        scene.write(&path, whole);
    }
    let cache = scene.bytes("run/checkpoints/reference.cache");
    scene.write("run/checkpoints/reference.cache", &cache[..cache.len() - 1]);
    let ran = scene.run("train --resume run --quiet");
    assert!(ran.code == Some(1) && ran.err.contains("reference.cache"), "{ran:?}");
    scene.write("pairs.jsonl", super::PAIRS.replace("ohio", "iowa"));
    scene.write("run/checkpoints/reference.cache", cache);
    let ran = scene.run("train --resume run --quiet");
    assert!(ran.code == Some(1) && ran.err.contains("another data"), "the data has changed: {ran:?}");
}
