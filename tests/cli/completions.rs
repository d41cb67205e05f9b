//! Pairs of pictures whose refined prompts nobody knows are completed.
use serde_json::Value;

use super::Scene;
use super::resume::{check_same, wait_for_lines};

const MODELS: &str = "--refiner builtin:chimera-refiner --generator builtin:chimera-generator";

/// Records of four pictures that say nothing of their prompts, and one pair that does.
fn scene() -> Scene {
    let scene = Scene::new();
    let sample = "sample --mdp hybrid --limit-prompts 3 --null-share 0 --sample-steps 6 --max-length 40 --pairs made";
    scene.done(&format!("{sample} --quiet"));
    let made: Vec<Value> =
        scene.read("made/pairs.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut records = String::new();
    for (i, pair) in made.iter().enumerate() {
        let side = |name: &str| {
            let image = format!("made/{}", pair[name]["image"].as_str().unwrap());
            let refined = if i == 2 { pair[name]["refined"].clone() } else { Value::Null };
            serde_json::json!({ "image": image, "refined": refined })
        };
        let record = serde_json::json!({ "request": pair["request"], "chosen": side("a"), "rejected": side("b") });
        records.push_str(&record.to_string());
        records.push('\n');
    }
    scene.write("records.jsonl", records);
    scene
}

fn learning(run: &str, more: &str) -> String {
    format!(
        "train --mdp hybrid {MODELS} --data records.jsonl --max-length 40 --eval-share 0 --n-samples 0 --warmup-steps 0 \
         --lr 1e-3 --batch-size 1 --micro-batch-size 1 --out {run} {more}"
    )
}

fn completions(scene: &Scene, run: &str) -> Vec<Value> {
    let text = scene.read(&format!("{run}/completions.jsonl"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_picture_gets_a_prompt_that_the_refiner_would_write_and_learns_from_it() {
    let scene = scene();
    let said = scene.done(&learning("off", "--max-steps 3")).err;
    assert!(
        said.contains("4 of 6 pictures have no refined prompt") && said.contains("--complete-refinements"),
        "{said}"
    );
    assert!(!scene.path("off/completions.jsonl").exists());
    let said = scene.done(&learning("run", "--max-steps 3 --complete-refinements 4")).err;
    assert!(said.contains("4 of 6 pictures had no refined prompt and got one of up to 4 refinements"), "{said}");
    let completions = completions(&scene, "run");
    let places: Vec<(u64, u64)> =
        completions.iter().map(|one| (one["pair"].as_u64().unwrap(), one["side"].as_u64().unwrap())).collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    for one in &completions {
        let (probability, candidates) = (one["probability"].as_f64().unwrap(), one["candidates"].as_u64().unwrap());
        assert!(probability > 0.0 && probability <= 1.0 && (1..=4).contains(&candidates), "{one}");
        assert!(one["refined"].as_str().is_some_and(|refined| !refined.is_empty()), "{one}");
    }
    // What is completed teaches the refiner; what is taken for unrefined does not.
    let refined = |run: &str| scene.metrics(run).iter().filter(|line| line.get("length/refiner").is_some()).count();
    assert_eq!((refined("off"), refined("run")), (1, 3));
    assert!((scene.column("run", "loss")[0] - 2f64.ln()).abs() < 1e-9);
    // The same seed draws the same prompts.
    scene.done(&learning("again", "--max-steps 3 --complete-refinements 4 --quiet"));
    assert_eq!(scene.read("run/completions.jsonl"), scene.read("again/completions.jsonl"));
}

#[test]
fn killed_and_resumed_is_the_same_to_the_bit() {
    let scene = scene();
    let more = "--epochs 4 --save-every 2 --complete-refinements 3 --quiet";
    scene.done(&learning("whole", more));
    let mut child = scene.command(&learning("killed", more)).spawn().unwrap();
    wait_for_lines(&scene, "killed", 4, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    scene.done("train --resume killed --quiet");
    check_same(&scene, "whole", "killed", "refiner/model.safetensors");
    // Other prompts than those that the run began with are another run.
    let kept = scene.read("killed/completions.jsonl");
    std::fs::remove_dir_all(scene.path("killed/model")).unwrap();
    for (changed, says) in [
        (kept.replacen("\"pair\":0", "\"pair\":7", 1), "line 1: another picture"),
        (
            kept.replacen("\"refined\":\"", "\"refined\":\"x", 1),
            "line 1: the tokens are not those of the refined prompt",
        ),
        (kept.lines().skip(1).collect::<Vec<_>>().join("\n"), "another picture"),
        (kept[..kept.len() / 2].to_owned(), "completions.jsonl, line"),
    ] {
        scene.write("killed/completions.jsonl", changed);
        scene.refused("train --resume killed --quiet", 1, &["completions.jsonl", says]);
    }
}

/// A denoiser's folder of judged pairs, `plain`: a hybrid's pictures without their refined prompts.
fn plain_pairs() -> Scene {
    let scene = Scene::new();
    scene.write("requests.txt", "a red minotaur on a white field\na blue harpy on a pink field\n");
    let sample =
        "sample --mdp hybrid --prompts requests.txt --null-share 1 --sample-steps 2 --max-length 40 --pairs made";
    scene.done(&format!("{sample} --quiet"));
    let mut plain: Value = serde_json::from_str(&scene.read("made/pairs.json")).unwrap();
    plain["modality"] = "diffusion".into();
    plain["id"] = "plain".into();
    scene.write("plain/pairs.json", plain.to_string());
    let mut labels = String::new();
    let mut pairs = String::new();
    for line in scene.read("made/pairs.jsonl").lines() {
        let mut pair: Value = serde_json::from_str(line).unwrap();
        for side in ["a", "b"] {
            let side = pair[side].as_object_mut().unwrap();
            side.retain(|name, _| !["refined", "refined_tokens", "null_refiner"].contains(&name.as_str()));
        }
        let index = pair["index"].clone();
        let label = serde_json::json!({
            "version": 1, "pairs": "plain", "index": index, "choice": "a", "labeller": "ann", "by": "person"
        });
        for (lines, line) in [(&mut labels, &label), (&mut pairs, &pair)] {
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
    }
    scene.write("plain/pairs.jsonl", pairs);
    scene.write("plain/labels.jsonl", labels);
    scene.write("plain/latents.safetensors", scene.bytes("made/latents.safetensors"));
    for line in ["00000-a", "00000-b", "00001-a", "00001-b"] {
        scene.write(&format!("plain/images/{line}.png"), scene.bytes(&format!("made/images/{line}.png")));
    }
    scene
}

#[test]
fn pairs_of_a_denoiser_are_completed_and_refused_without() {
    let scene = plain_pairs();
    let plain = |run: &str, more: &str| learning(run, more).replace("records.jsonl", "plain");
    let says = ["plain: diffusion pairs, --mdp hybrid takes hybrid ones; --complete-refinements gives"];
    scene.refused(&plain("new", "--quiet"), 1, &says);
    scene.done(&plain("run", "--max-steps 1 --complete-refinements 2 --quiet"));
    assert_eq!(completions(&scene, "run").len(), 4);
    for (more, code, says) in [
        ("--complete-refinements 2000", 2, "--complete-refinements takes at most 1024"),
        ("--complete-refinements 2 --max-length 6", 1, "--max-length is 6"),
    ] {
        scene.refused(&plain("new", &format!("{more} --quiet")).replace("--max-length 40", ""), code, &[says]);
        assert!(!scene.path("new").exists(), "{more}");
    }
    let embedded = "train --mdp hybrid --complete-refinements 2 --out new";
    scene.refused(
        embedded,
        2,
        &["--complete-refinements is for a file or a folder of files in --data or a folder of pairs"],
    );
}
